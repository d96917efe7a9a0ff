import ast
import re

import pytest

from catalog.errors import InvalidFilter
from catalog.store.filters import SearchFilter, one_of, quote
from catalog.text import is_quotable


@pytest.mark.parametrize(
    ("search_filter", "expression"),
    [
        (SearchFilter(), ""),
        (SearchFilter(categories=("Home", "Garden")), '(category in ["Home", "Garden"])'),
        (SearchFilter(price_min=5), "(price >= 5.0)"),
        (SearchFilter(price_max=20), "(price >= 0.0) and (price <= 20.0)"),
        (SearchFilter(price_max=0), "(price >= 0.0) and (price <= 0.0)"),
        (SearchFilter(price_min=-5), "(price >= 0.0)"),
        (SearchFilter(price_min=0.1, price_max=1e6), "(price >= 0.1) and (price <= 1000000.0)"),
        (SearchFilter(currency="GBP"), '(currency in ["GBP"])'),
        (SearchFilter(listed_after=1_700_000_000), "(listed_at > 1700000000)"),
        (SearchFilter(listed_after=-(10**30)), "(listed_at > -1)"),
        (SearchFilter(listed_after=10**30), f"(listed_at > {1 << 62})"),
        (SearchFilter(exclude_photo_ids=("p1",)), '(not (photo_id in ["p1"]))'),
        (SearchFilter(exclude_listing_ids=("l1",)), '(not (listing_id in ["l1"]))'),
        (
            SearchFilter(categories=("Home",), price_min=1, exclude_listing_ids=("a", "b")),
            '(category in ["Home"]) and (price >= 1.0) and (not (listing_id in ["a", "b"]))',
        ),
    ],
)
def test_expression(search_filter: SearchFilter, expression: str) -> None:
    """The fields are combined with `and`, and a price filter excludes unknown prices, which are stored as -1."""
    assert search_filter.expression() == expression


@pytest.mark.parametrize(
    ("location", "passes"),
    [
        ("Leeds, West Yorkshire", True),
        ("Leeds", True),
        ("Leeds🎹", True),
        ("Leed", False),
        ("Leedt", False),
        ("leeds", False),
        ("North Leeds", False),
    ],
)
def test_location_is_a_prefix(location: str, passes: bool) -> None:
    """A location filter matches locations that begin with it, and nothing else."""
    expression = SearchFilter(location="Leeds").expression()
    match = re.fullmatch(r"\(location >= (\".*\") and location < (\".*\")\)", expression)
    assert match
    low, high = (ast.literal_eval(text) for text in match.groups())
    assert (low <= location < high) is passes


HOSTILE = [
    '" or 1 == 1 or category == "',
    "\\",
    '\\"',
    '\\\\" or price > 0 //',
    "trailing\\",
    "two\nlines\r\nand\ta tab",
    "100%_",
    "it's",
    "{category} [x] (y)",
    "🎹 Ünï 日本",
    "\u2028",
    "",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_strings(text: str) -> None:
    """Any value stays a single string literal, which evaluates to that value."""
    assert is_quotable(text)
    assert re.fullmatch(r'"([^"\\\n\r\t]|\\["\\nrt])*"', quote(text))
    assert ast.literal_eval(quote(text)) == text
    assert one_of("photo_id", ["a", text]) == f'photo_id in ["a", {quote(text)}]'


@pytest.mark.parametrize("character", ["\0", "\x07", "\x0b", "\x1b", "\x7f", "\ud800"])
@pytest.mark.parametrize(
    "field", ["categories", "subcategory", "currency", "location", "exclude_listing_ids", "exclude_photo_ids"]
)
def test_control_characters(field: str, character: str) -> None:
    """A control character is refused in every field, and an id that contains one is not stored."""
    value = f"a{character}b"
    with pytest.raises(InvalidFilter):
        SearchFilter(**{field: value if field in {"subcategory", "currency", "location"} else (value,)}).expression()
    assert not is_quotable(value)


@pytest.mark.parametrize(
    "prices",
    [
        {"price_min": float("nan")},
        {"price_max": float("nan")},
        {"price_min": float("inf")},
        {"price_max": float("inf")},
        {"price_max": float("-inf")},
        {"price_min": 1.0, "price_max": float("nan")},
    ],
)
def test_prices_that_are_not_finite(prices: dict[str, float]) -> None:
    """NaN and infinity are refused as prices."""
    with pytest.raises(InvalidFilter):
        SearchFilter(**prices).expression()

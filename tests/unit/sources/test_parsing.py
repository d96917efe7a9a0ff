import math

import pytest

from catalog.exports.fields import parse_category, parse_price, parse_time, parse_title


@pytest.mark.parametrize(
    ("text", "price", "currency"),
    [
        ("£1,150.00", 1150.0, "GBP"),
        ("€5", 5.0, "EUR"),
        ("$7.50", 7.5, "USD"),
        ("GBP 12", 12.0, "GBP"),
        ("12 EUR", 12.0, "EUR"),
        (" £ 5 ", 5.0, "GBP"),
        ("1,150,000.5", 1150000.5, ""),
        ("1150", 1150.0, ""),
        ("0.00", 0.0, ""),
    ],
)
def test_price(text: str, price: float, currency: str) -> None:
    """A price is read with its currency; without a currency sign, none is guessed."""
    assert parse_price(text) == (price, currency)


@pytest.mark.parametrize(
    "text", ["", "free", "-5", "1,15", "1,1500", "£", "nan", "inf", "1e5", "5.", "5 to 7", "£5 ono"]
)
def test_no_price(text: str) -> None:
    """Text that is not a price gives an unknown price, never 0 and never a guess."""
    assert parse_price(text) == (None, "")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-05-01T10:00:00+01:00", 1714554000),
        ("2024-05-01T09:00:00Z", 1714554000),
        ("2024-05-01T09:00:00", 1714554000),
        ("2024-05-01 09:00:00.75", 1714554000),
        ("2024-05-01", 1714521600),
        ("20240501", 1714521600),
        ("1714554000", 1714554000),
        ("1714554000.0", 1714554000),
        ("0", 0),
    ],
)
def test_time(text: str, seconds: int) -> None:
    """ISO 8601 and Unix seconds are read; a time without a zone is UTC, eight digits are a day."""
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "yesterday", "01/05/2024", "-5", "1969-12-31", "1714554000000", "99999999", "9" * 400, "nan", "1e9"]
)
def test_no_time(text: str) -> None:
    """Text that is not a time, a time before 1970 and milliseconds give an unknown time, never a guess."""
    assert parse_time(text) is None


def test_endless_price() -> None:
    """A price is finite or unknown, because infinity can be neither stored nor shown."""
    price, _ = parse_price("9" * 400)
    assert price is None or math.isfinite(price)


@pytest.mark.parametrize(
    ("text", "root", "rest"),
    [
        (
            "Home & Garden / Dining, Living Room Furniture / Other",
            "Home & Garden",
            "Dining, Living Room Furniture / Other",
        ),
        ("Home & Garden / Beds", "Home & Garden", "Beds"),
        ("Home & Garden", "Home & Garden", ""),
        ("DVDs/Blu-ray / Films", "DVDs/Blu-ray", "Films"),
        ("", "", ""),
    ],
)
def test_category(text: str, root: str, rest: str) -> None:
    """Only ' / ' separates a category from its subcategory; a bare slash belongs to a name."""
    assert parse_category(text) == (root, rest)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Sun loungers | in Skegness, Lincolnshire | Gumtree", "Sun loungers"),
        ("Digital Piano | 88 Weighted Keys | in Wimbledon, London | Gumtree", "Digital Piano | 88 Weighted Keys"),
        ("Bed | in white | in Leeds, West Yorkshire | Gumtree", "Bed | in white"),
        ("Lamp\n| in Leeds, West Yorkshire | Gumtree\n", "Lamp"),
        ("Table in white", "Table in white"),
        ("Table | in white", "Table | in white"),
        ("Piano | 88 keys", "Piano | 88 keys"),
        ("", ""),
    ],
)
def test_title(text: str, title: str) -> None:
    """The place and the site's name are removed from a title, and nothing that the seller wrote."""
    assert parse_title(text) == title

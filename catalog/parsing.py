"""What sellers write -> what is stored. Plain functions, no reading."""

import math
import re

_SYMBOLS = {"£": "GBP", "€": "EUR", "$": "USD"}
_SIGN = r"[£€$]|[A-Z]{3}"
_PRICE = re.compile(
    rf"(?P<before>{_SIGN})?\s*(?P<number>\d{{1,3}}(,\d{{3}})+(\.\d+)?|\d+(\.\d+)?)\s*(?P<after>{_SIGN})?"
)
_PLACE_SUFFIX = re.compile(r"\s*\|\s*in [^|]+\|[^|]+$")


def parse_price(text: str) -> tuple[float | None, str]:
    """`£1,150.00` -> (1150.0, 'GBP'). The price is None where the text is not one; the currency '' where not given."""
    found = _PRICE.fullmatch(text.strip())
    if not found:
        return None, ""
    sign = found["before"] or found["after"] or ""
    price = float(found["number"].replace(",", ""))
    return (price if math.isfinite(price) else None), _SYMBOLS.get(sign, sign)


def parse_category(text: str) -> tuple[str, str]:
    """`Home & Garden / Beds / Other` -> ('Home & Garden', 'Beds / Other')."""
    root, _, rest = text.partition(" / ")
    return root.strip(), rest.strip()


def parse_title(text: str) -> str:
    """Drop the place and the site's name: `Sun loungers | in Skegness, Lincolnshire | Gumtree` -> `Sun loungers`."""
    return _PLACE_SUFFIX.sub("", text).strip()

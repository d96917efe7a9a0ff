"""Parsers of single fields: what sellers write -> what is stored. Pure functions."""

import math
import re
from datetime import UTC, datetime

from catalog.text import PATH_SEPARATOR

_SYMBOLS = {"£": "GBP", "€": "EUR", "$": "USD"}
_SIGN = r"[£€$]|[A-Z]{3}"
_PRICE = re.compile(
    rf"(?P<before>{_SIGN})?\s*(?P<number>\d{{1,3}}(,\d{{3}})+(\.\d+)?|\d+(\.\d+)?)\s*(?P<after>{_SIGN})?"
)
_SECONDS = re.compile(r"\d{9,12}(\.\d+)?|\d{1,7}(\.\d+)?")
_YEAR_3000 = 32_503_680_000
_PLACE_SUFFIX = re.compile(r"\s*\|\s*in [^|]+\|[^|]+$")


def parse_price(text: str) -> tuple[float | None, str]:
    """`£1,150.00` -> (1150.0, 'GBP'). The price is None if the text is not a price, the currency '' if missing."""
    match = _PRICE.fullmatch(text.strip())
    if not match:
        return None, ""
    sign = match["before"] or match["after"] or ""
    price = float(match["number"].replace(",", ""))
    return (price if math.isfinite(price) else None), _SYMBOLS.get(sign, sign)


def parse_category(text: str) -> tuple[str, str]:
    """`Home & Garden / Beds / Other` -> ('Home & Garden', 'Beds / Other')."""
    root, _, rest = text.partition(PATH_SEPARATOR)
    return root.strip(), rest.strip()


def parse_time(text: str) -> int | None:
    """`2024-05-01T10:00:00+01:00` or `1714554000` -> Unix seconds; None if the text is neither, or before 1970.

    A time without a zone is UTC. Eight digits are a day (`20240501`), as in ISO 8601.
    """
    try:
        if _SECONDS.fullmatch(text):
            seconds = float(text)
        else:
            time = datetime.fromisoformat(text)
            seconds = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return int(seconds) if 0 <= seconds < _YEAR_3000 else None


def parse_title(text: str) -> str:
    """Remove the place and the site: `Sun loungers | in Skegness, Lincolnshire | Gumtree` -> `Sun loungers`."""
    return _PLACE_SUFFIX.sub("", text).strip()

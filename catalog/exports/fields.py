"""What sellers write -> what is stored. Plain functions, no reading."""

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
    """`£1,150.00` -> (1150.0, 'GBP'). The price is None where the text is not one; the currency '' where not given."""
    found = _PRICE.fullmatch(text.strip())
    if not found:
        return None, ""
    sign = found["before"] or found["after"] or ""
    price = float(found["number"].replace(",", ""))
    return (price if math.isfinite(price) else None), _SYMBOLS.get(sign, sign)


def parse_category(text: str) -> tuple[str, str]:
    """`Home & Garden / Beds / Other` -> ('Home & Garden', 'Beds / Other')."""
    root, _, rest = text.partition(PATH_SEPARATOR)
    return root.strip(), rest.strip()


def parse_time(text: str) -> int | None:
    """`2024-05-01T10:00:00+01:00` or `1714554000` -> Unix seconds; None where the text is neither, or before 1970.

    A time without a zone is UTC. Eight digits are a day, `20240501`, as ISO 8601 has it.
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
    """Drop the place and the site's name: `Sun loungers | in Skegness, Lincolnshire | Gumtree` -> `Sun loungers`."""
    return _PLACE_SUFFIX.sub("", text).strip()

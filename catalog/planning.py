"""How far a search looks. Pure: sizes in, Milvus' parameters out."""

from dataclasses import dataclass
from typing import Literal

from catalog.settings import IndexSettings

MAX_TOP_K = 16_384
MAX_EF = 32_768
_LEAST = 64  # photos asked for: Milvus takes hardly longer for them than for one

Width = Literal["planned", "widest", "scan"]


@dataclass(frozen=True, slots=True)
class Reach:
    """`photos` for each query; `width` is how: the index as planned, all of it, or every vector compared here."""

    photos: int
    width: Width


def first_reach(limit: int, *, narrow: bool, exact: bool, index: IndexSettings) -> Reach:
    """Where a search for `limit` hits begins."""
    photos = min(max(4 * limit, _LEAST), MAX_TOP_K)
    if exact:
        return Reach(photos, "widest" if is_complete(index) else "scan")
    return Reach(photos, "widest" if narrow else "planned")


def further_reach(reach: Reach, *, cut: bool, short: bool, index: IndexSettings) -> Reach:
    """Where a search goes on: to more photos where its answer was `cut`, to more of the index where it came `short`."""
    width = reach.width
    if short and width != "scan":
        width = "widest" if width == "planned" and is_complete(index) else "scan"
    if cut and reach.photos == MAX_TOP_K and width != "scan":
        width = "scan"
    photos = 4 * reach.photos if cut else reach.photos
    return Reach(photos if width == "scan" else min(photos, MAX_TOP_K), width)


def finds_all(reach: Reach, index: IndexSettings) -> bool:
    """Whether nothing near is missed."""
    return reach.width == "scan" or (is_complete(index) and (reach.width == "widest" or index.type == "FLAT"))


def is_complete(index: IndexSettings) -> bool:
    """Whether this index can look at every vector as it was written."""
    return index.type in {"FLAT", "IVF_FLAT"}

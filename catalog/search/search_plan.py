"""Search plans: how many photos a search asks Milvus for, and how. Pure. The figures are from docs/search.md."""

import math
from dataclasses import dataclass
from typing import Literal

from catalog.settings import IndexSettings

MAX_TOP_K = 16_384
MAX_EF = 32_768
# Milvus takes hardly longer for 64 photos than for one. Of product quantisation more are compared again.
_LEAST = 64
_LEAST_PQ = 1_024
# Vectors that pass, in numbers: 64 MB are compared in a few milliseconds, so nothing is gained by leaving any out.
FEW_NUMBERS = 16_000_000
_FEW_TO_SCAN = 1_000
# So few come from a server as fast as the index finds them, and its interim index loses most of these (decision 19).
FEW_TO_FETCH = 64
_WIDE_EF = 4_096

Width = Literal["planned", "widest", "scan"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many photos of `total` pass the filter, each of `dim` numbers."""

    passing: int
    total: int
    dim: int


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """How many `photos` for each query, and how.

    Through the index as `planned` for the `share` that passes, at its `widest`, or by a `scan`, which compares every
    vector that passes without the index.
    """

    photos: int
    width: Width
    share: float = 1.0


def first_plan(
    limit: int, index: IndexSettings, sizes: Sizes | None, *, narrow: bool = False, exact: bool = False
) -> SearchPlan:
    """Where a search for `limit` hits begins. Without sizes, `narrow` says whether a filter may leave few in plan."""
    photos = min(max(4 * limit, _LEAST_PQ if index.type == "IVF_PQ" else _LEAST), _most_photos(index))
    few = {"FLAT": 0, "IVF_PQ": _FEW_TO_SCAN}.get(index.type, FEW_TO_FETCH)
    if sizes is not None and sizes.passing <= few:
        return SearchPlan(photos, "scan")
    if exact:
        return SearchPlan(photos, "widest" if _is_complete(index) else "scan")
    if sizes is None:
        return SearchPlan(photos, "widest" if narrow else "planned")
    if index.type != "HNSW" and sizes.passing * sizes.dim <= FEW_NUMBERS:
        return SearchPlan(photos, "widest")
    return SearchPlan(photos, "planned", max(sizes.passing, 1) / max(sizes.total, sizes.passing, 1))


def wider_plan(index: IndexSettings, plan: SearchPlan, *, cut: bool, short: bool) -> SearchPlan:
    """How a search continues: to more photos where its answer was `cut`, to more of the index where it came `short`."""
    most = _most_photos(index)
    scan = plan.width == "scan" or (short and plan.width == "widest") or (cut and plan.photos == most)
    photos = 4 * plan.photos if cut else plan.photos
    if scan:
        return SearchPlan(photos, "scan")
    return SearchPlan(min(photos, most), "widest" if short else plan.width, plan.share)


def search_params(index: IndexSettings, plan: SearchPlan) -> dict[str, int]:
    """Parameters of a search through the index, in Milvus' names."""
    if index.type.startswith("IVF"):
        cells = index.nlist if plan.width == "widest" else math.ceil(index.nprobe / plan.share)
        return {"nprobe": min(cells, index.nlist)}
    if index.type == "HNSW":
        if plan.width == "widest":
            ef = _WIDE_EF
        else:
            ef = index.ef if plan.share > 0.9 else math.ceil(2 * index.ef / plan.share)
        return {"ef": min(max(ef, 2 * plan.photos if plan.width == "widest" else plan.photos), MAX_EF)}
    return {}


def finds_all(index: IndexSettings, plan: SearchPlan) -> bool:
    """Whether no photo near a query is missed: the answer is exact."""
    if plan.width == "scan":
        return True
    return _is_complete(index) and search_params(index, plan).get("nprobe", index.nlist) == index.nlist


def is_quantised(index: IndexSettings) -> bool:
    """Whether the index holds rounded vectors, so that what it finds has to be compared again."""
    return index.type in {"IVF_SQ8", "IVF_PQ"}


def _most_photos(index: IndexSettings) -> int:
    # Those to be compared again come with their vectors, and an answer must stay under 64 MiB.
    return 4_096 if is_quantised(index) else MAX_TOP_K


def _is_complete(index: IndexSettings) -> bool:
    return index.type in {"FLAT", "IVF_FLAT"}

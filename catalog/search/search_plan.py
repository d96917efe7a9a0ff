"""Search plans: how many photos a search requests from Milvus, and how. Pure. The constants are from docs/search.md."""

import math
from dataclasses import dataclass
from typing import Literal

from catalog.settings import IndexSettings

MAX_TOP_K = 16_384
MAX_EF = 32_768
# Milvus takes hardly longer for 64 photos than for one. With product quantisation, more photos have to be ranked again.
_LEAST = 64
_LEAST_PQ = 1_024
# Floats in the vectors that pass: 64 MB are compared in a few milliseconds, so skipping some saves nothing.
FEW_NUMBERS = 16_000_000
_FEW_TO_SCAN = 1_000
# Fetching so few vectors takes no longer than an index search, and a server's interim index misses most of them
# (decision 19).
FEW_TO_FETCH = 64
_WIDE_EF = 4_096

Width = Literal["planned", "widest", "scan"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many of the `total` photos pass the filter; each embedding has `dim` numbers."""

    passing: int
    total: int
    dim: int


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """How many `photos` to request for each query, and how to search for them.

    `planned`: with index parameters for the `share` of photos that pass the filter. `widest`: with the widest index
    parameters. `scan`: without the index, comparing every vector that passes.
    """

    photos: int
    width: Width
    share: float = 1.0


def first_plan(
    limit: int, index: IndexSettings, sizes: Sizes | None, *, narrow: bool = False, exact: bool = False
) -> SearchPlan:
    """Return the first plan for `limit` hits. If sizes are unknown, `narrow` says that few photos may pass."""
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
    """Return the next, wider plan: more photos if the result was `cut`, more of the index if it was too `short`."""
    most = _most_photos(index)
    scan = plan.width == "scan" or (short and plan.width == "widest") or (cut and plan.photos == most)
    photos = 4 * plan.photos if cut else plan.photos
    if scan:
        return SearchPlan(photos, "scan")
    return SearchPlan(min(photos, most), "widest" if short else plan.width, plan.share)


def search_params(index: IndexSettings, plan: SearchPlan) -> dict[str, int]:
    """Return the parameters of a search through the index, under Milvus' names."""
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
    """Whether the search misses no photo near a query, so that its result is exact."""
    if plan.width == "scan":
        return True
    return _is_complete(index) and search_params(index, plan).get("nprobe", index.nlist) == index.nlist


def is_quantised(index: IndexSettings) -> bool:
    """Whether the index stores rounded vectors, so that its results have to be ranked again by the stored ones."""
    return index.type in {"IVF_SQ8", "IVF_PQ"}


def _most_photos(index: IndexSettings) -> int:
    # Photos to be ranked again come with their vectors, and a response must stay under 64 MiB.
    return 4_096 if is_quantised(index) else MAX_TOP_K


def _is_complete(index: IndexSettings) -> bool:
    return index.type in {"FLAT", "IVF_FLAT"}

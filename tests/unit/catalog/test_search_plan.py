"""Search plans: how many photos and how much of the index a search covers. No store is involved."""

import pytest

from catalog.search.search_plan import MAX_EF, SearchPlan, Sizes, finds_all, first_plan, search_params, wider_plan
from catalog.settings import IndexSettings

FLAT = IndexSettings(type="FLAT")
IVF = IndexSettings(type="IVF_FLAT", nlist=1024, nprobe=64)
SQ8 = IVF.model_copy(update={"type": "IVF_SQ8"})
PQ = IVF.model_copy(update={"type": "IVF_PQ"})
HNSW = IndexSettings(type="HNSW", ef=128)
MILLION = 1_000_000


def sizes(passing: int, total: int = MILLION) -> Sizes:
    return Sizes(passing, total, dim=512)


@pytest.mark.parametrize("index", [IVF, SQ8, PQ, HNSW])
def test_narrower_filters_search_more_of_the_index(index: IndexSettings) -> None:
    """If every photo passes, the settings apply; the fewer photos pass, the more of the index is searched."""
    widths = [
        next(iter(search_params(index, first_plan(10, index, sizes(passing))).values()))
        for passing in (MILLION, 500_000, 200_000, 100_000)
    ]
    assert widths[0] in {64, 128, 1_024}
    assert widths == sorted(set(widths))


@pytest.mark.parametrize(("index", "exact"), [(IVF, True), (SQ8, False), (FLAT, True)])
def test_few_that_pass_are_all_compared(index: IndexSettings, exact: bool) -> None:
    """If few photos pass, every cell is searched: the result is exact unless the index stores rounded vectors."""
    plan = first_plan(10, index, sizes(1_000))
    assert search_params(index, plan) == ({} if index is FLAT else {"nprobe": 1024})
    assert finds_all(index, plan) is exact
    assert finds_all(index, first_plan(10, index, sizes(500_000))) is (index is FLAT)


@pytest.mark.parametrize("index", [IVF, SQ8, PQ, HNSW])
def test_very_few_are_fetched_and_compared(index: IndexSettings) -> None:
    """A server's interim index of new and small segments loses hits under narrow filters, so it is not used."""
    assert first_plan(10, index, sizes(64)).width == "scan"
    assert first_plan(10, index, sizes(1_001)).width != "scan"
    assert first_plan(10, FLAT, sizes(64)).width == "widest"


def test_without_sizes() -> None:
    """If the number of passing photos is unknown, a filter that few may pass is searched with the widest plan."""
    for index in (IVF, SQ8, HNSW):
        wide = search_params(index, first_plan(10, index, None, narrow=True))
        assert max(wide.values()) > max(search_params(index, first_plan(10, index, None)).values())
    assert search_params(IVF, first_plan(10, IVF, None, narrow=True)) == {"nprobe": 1024}


@pytest.mark.parametrize("index", [FLAT, IVF, SQ8, PQ, HNSW])
def test_exact_is_exact(index: IndexSettings) -> None:
    """An exact search misses nothing, for every index and any number of passing photos."""
    assert finds_all(index, first_plan(10, index, sizes(MILLION), exact=True))
    assert finds_all(index, first_plan(10, index, None, exact=True))


@pytest.mark.parametrize("index", [FLAT, IVF, SQ8, PQ, HNSW])
@pytest.mark.parametrize("limit", [1, 10, 200, 5_000, 16_384])
def test_milvus_limits(index: IndexSettings, limit: int) -> None:
    """Plans respect Milvus' limits: top-k at most 16,384, nprobe at most the number of cells, ef at least top-k."""
    for passing in (0, 1, 1_000, MILLION):
        plan = first_plan(limit, index, sizes(passing))
        while plan.width != "scan":
            assert 1 <= plan.photos <= 16_384
            params = search_params(index, plan)
            assert params.get("nprobe", 1) <= 1024
            assert plan.photos <= params.get("ef", MAX_EF) <= MAX_EF
            plan = wider_plan(index, plan, cut=True, short=False)


@pytest.mark.parametrize("index", [FLAT, IVF, SQ8, PQ, HNSW])
@pytest.mark.parametrize(("cut", "short"), [(True, False), (False, True), (True, True)])
def test_every_search_ends(index: IndexSettings, cut: bool, short: bool) -> None:
    """A search that keeps finding too little ends with a plan that misses nothing."""
    plan = first_plan(10, index, sizes(MILLION))
    for _ in range(8):
        before, plan = plan, wider_plan(index, plan, cut=cut, short=short)
        assert plan.photos > before.photos or plan.width != before.width or plan.width == "scan" or not cut
    assert finds_all(index, plan)


def test_a_cut_result_requests_more_photos() -> None:
    """If the result was cut, the next plan has more photos; if it was short, more of the index."""
    assert wider_plan(IVF, SearchPlan(64, "planned", 0.5), cut=True, short=False) == SearchPlan(256, "planned", 0.5)
    assert wider_plan(IVF, SearchPlan(64, "planned", 0.5), cut=False, short=True).width == "widest"

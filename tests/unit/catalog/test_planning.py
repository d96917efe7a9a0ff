"""How far a search looks, without a store."""

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
def test_the_fewer_pass_the_further_it_looks(index: IndexSettings) -> None:
    """With every photo passing it looks as far as is set; each narrower filter looks at least as far as a wider one."""
    widths = [
        next(iter(search_params(index, first_plan(10, index, sizes(passing))).values()))
        for passing in (MILLION, 500_000, 200_000, 100_000)
    ]
    assert widths[0] in {64, 128, 1_024}
    assert widths == sorted(set(widths))


@pytest.mark.parametrize(("index", "exact"), [(IVF, True), (SQ8, False), (FLAT, True)])
def test_few_that_pass_are_all_compared(index: IndexSettings, exact: bool) -> None:
    """Where few pass, every cell is looked into: exact, unless the index holds rounded vectors."""
    reach = first_plan(10, index, sizes(1_000))
    assert search_params(index, reach) == ({} if index is FLAT else {"nprobe": 1024})
    assert finds_all(index, reach) is exact
    assert finds_all(index, first_plan(10, index, sizes(500_000))) is (index is FLAT)


@pytest.mark.parametrize("index", [IVF, SQ8, PQ, HNSW])
def test_very_few_are_fetched_and_compared(index: IndexSettings) -> None:
    """A server's own index of new and small segments loses hits under narrow filters: it is not asked."""
    assert first_plan(10, index, sizes(64)).width == "scan"
    assert first_plan(10, index, sizes(1_001)).width != "scan"
    assert first_plan(10, FLAT, sizes(64)).width == "widest"


def test_without_sizes() -> None:
    """Where nobody counts what passes, a filter that may leave few in reach looks everywhere."""
    for index in (IVF, SQ8, HNSW):
        wide = search_params(index, first_plan(10, index, None, narrow=True))
        assert max(wide.values()) > max(search_params(index, first_plan(10, index, None)).values())
    assert search_params(IVF, first_plan(10, IVF, None, narrow=True)) == {"nprobe": 1024}


@pytest.mark.parametrize("index", [FLAT, IVF, SQ8, PQ, HNSW])
def test_exact_is_exact(index: IndexSettings) -> None:
    """An exact search misses nothing, whatever the index and however many pass."""
    assert finds_all(index, first_plan(10, index, sizes(MILLION), exact=True))
    assert finds_all(index, first_plan(10, index, None, exact=True))


@pytest.mark.parametrize("index", [FLAT, IVF, SQ8, PQ, HNSW])
@pytest.mark.parametrize("limit", [1, 10, 200, 5_000, 16_384])
def test_milvus_limits(index: IndexSettings, limit: int) -> None:
    """Milvus takes every search that is planned: top-k to 16,384, no more cells than there are, ef from top-k up."""
    for passing in (0, 1, 1_000, MILLION):
        reach = first_plan(limit, index, sizes(passing))
        while reach.width != "scan":
            assert 1 <= reach.photos <= 16_384
            params = search_params(index, reach)
            assert params.get("nprobe", 1) <= 1024
            assert reach.photos <= params.get("ef", MAX_EF) <= MAX_EF
            reach = wider_plan(index, reach, cut=True, short=False)


@pytest.mark.parametrize("index", [FLAT, IVF, SQ8, PQ, HNSW])
@pytest.mark.parametrize(("cut", "short"), [(True, False), (False, True), (True, True)])
def test_every_search_ends(index: IndexSettings, cut: bool, short: bool) -> None:
    """A search that finds too little again and again comes to one that misses nothing, and then to more photos."""
    reach = first_plan(10, index, sizes(MILLION))
    for _ in range(8):
        before, reach = reach, wider_plan(index, reach, cut=cut, short=short)
        assert reach.photos > before.photos or reach.width != before.width or reach.width == "scan" or not cut
    assert finds_all(index, reach)


def test_a_cut_answer_asks_for_more_photos() -> None:
    """What fills the neighbourhood is got past by more photos, not by more cells."""
    assert wider_plan(IVF, SearchPlan(64, "planned", 0.5), cut=True, short=False) == SearchPlan(256, "planned", 0.5)
    assert wider_plan(IVF, SearchPlan(64, "planned", 0.5), cut=False, short=True).width == "widest"

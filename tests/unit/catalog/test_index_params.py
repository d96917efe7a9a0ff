import pytest

from catalog.settings import IndexSettings
from catalog.store.index_params import LITE_INDEXES, build_params


@pytest.mark.parametrize(
    ("index", "params"),
    [
        (IndexSettings(type="FLAT"), {}),
        (IndexSettings(type="IVF_FLAT", nlist=99), {"nlist": 99}),
        (IndexSettings(type="IVF_SQ8", nlist=99), {"nlist": 99}),
        (IndexSettings(type="IVF_PQ", nlist=99, pq_m=32), {"nlist": 99, "m": 32, "nbits": 8}),
        (IndexSettings(type="HNSW", hnsw_m=8, ef_construction=77), {"M": 8, "efConstruction": 77}),
    ],
)
def test_build_params(index: IndexSettings, params: dict[str, int]) -> None:
    """An index is built with the settings of its type, under Milvus' names."""
    assert build_params(index) == params


def test_lite_has_no_pq() -> None:
    """Milvus Lite accepts the name IVF_PQ and fails at the next load, so it is not offered."""
    assert {"FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW"} == LITE_INDEXES

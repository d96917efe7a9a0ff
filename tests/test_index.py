import numpy as np
import pytest
from numpy.typing import NDArray

from catalog.index import LITE_INDEXES, build_params, check_embeddings, search_params
from catalog.listing import Listing, Photo, StoredPhoto
from catalog.settings import IndexSettings

DIM = 4


def photos(*ids: str) -> list[StoredPhoto]:
    return [StoredPhoto(Photo(photo_id, Listing("l"), "/a.jpg"), "", 0) for photo_id in ids]


def unit(rows: int) -> NDArray[np.float32]:
    return np.eye(DIM, dtype=np.float32)[:rows]


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
    """An index is built with the settings of its own kind, in Milvus' names."""
    assert build_params(index) == params


@pytest.mark.parametrize("kind", ["IVF_FLAT", "IVF_SQ8", "IVF_PQ"])
def test_exact_ivf(kind: str) -> None:
    """An exact search looks into every cell, another into as many as are set, never more than there are."""
    index = IndexSettings.model_validate({"type": kind, "nlist": 100, "nprobe": 20})
    assert search_params(index, 10, exact=True) == {"nprobe": 100}
    assert search_params(index, 10, exact=False) == {"nprobe": 20}
    assert search_params(index.model_copy(update={"nprobe": 500}), 10, exact=False) == {"nprobe": 100}


@pytest.mark.parametrize("limit", [1, 10, 300, 16_384])
def test_hnsw_width(limit: int) -> None:
    """HNSW looks at least as wide as the answer is long, and wider under a narrow filter, up to Milvus' limit."""
    index = IndexSettings(type="HNSW", ef=128)
    near, exact = (search_params(index, limit, exact=exact)["ef"] for exact in (False, True))
    assert near == max(128, limit)
    assert near < exact <= 32_768
    assert exact >= 2_048


def test_flat_is_exact() -> None:
    """FLAT has no width to set."""
    assert search_params(IndexSettings(type="FLAT"), 10, exact=True) == {}


def test_lite_has_no_pq() -> None:
    """Embedded Milvus takes the name IVF_PQ and fails at the next load: it is not among those offered."""
    assert {"FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW"} == LITE_INDEXES


def test_good_embeddings() -> None:
    """Unit vectors of the right shape pass, none at all too, and small rounding errors do not matter."""
    check_embeddings(photos("a", "b"), unit(2) * np.float32(1.0005), DIM)
    check_embeddings([], unit(0), DIM)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, 0.5, 3.0])
def test_bad_vectors(value: float) -> None:
    """NaN, infinite, zero and unnormalised vectors are refused, one among good ones as well: Milvus takes them."""
    embeddings = unit(3)
    embeddings[1, 1] = value
    with pytest.raises(ValueError, match="unit length"):
        check_embeddings(photos("a", "b", "c"), embeddings, DIM)


@pytest.mark.parametrize("shape", [(2, DIM), (3, DIM + 1), (3 * DIM,), (3, 1, DIM)])
def test_bad_shape(shape: tuple[int, ...]) -> None:
    """One embedding for each photo, of the collection's dimension."""
    with pytest.raises(ValueError, match="shape"):
        check_embeddings(photos("a", "b", "c"), np.zeros(shape, np.float32), DIM)


def test_duplicate_ids() -> None:
    """One id twice in a batch is refused: stores differ in which of the two they keep."""
    with pytest.raises(ValueError, match="twice"):
        check_embeddings(photos("a", "b", "a"), unit(3), DIM)

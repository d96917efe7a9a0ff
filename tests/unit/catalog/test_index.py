import numpy as np
import pytest
from numpy.typing import NDArray

from catalog.listing import Listing, Photo, StoredPhoto
from catalog.settings import IndexSettings
from catalog.store.index_params import LITE_INDEXES, build_params
from catalog.store.records import check_embeddings

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
    """An index is built with the settings of its type, under Milvus' names."""
    assert build_params(index) == params


def test_lite_has_no_pq() -> None:
    """Milvus Lite accepts the name IVF_PQ and fails at the next load, so it is not offered."""
    assert {"FLAT", "IVF_FLAT", "IVF_SQ8", "HNSW"} == LITE_INDEXES


def test_good_embeddings() -> None:
    """Unit vectors of the right shape pass, even with small rounding errors; so does an empty batch."""
    check_embeddings(photos("a", "b"), unit(2) * np.float32(1.0005), DIM)
    check_embeddings([], unit(0), DIM)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, 0.5, 3.0])
def test_bad_vectors(value: float) -> None:
    """NaN, infinite, zero and unnormalised vectors are refused, even one among good ones: Milvus accepts them."""
    embeddings = unit(3)
    embeddings[1, 1] = value
    with pytest.raises(ValueError, match="unit length"):
        check_embeddings(photos("a", "b", "c"), embeddings, DIM)


@pytest.mark.parametrize("shape", [(2, DIM), (3, DIM + 1), (3 * DIM,), (3, 1, DIM)])
def test_bad_shape(shape: tuple[int, ...]) -> None:
    """There has to be one embedding per photo, with the collection's dimension."""
    with pytest.raises(ValueError, match="shape"):
        check_embeddings(photos("a", "b", "c"), np.zeros(shape, np.float32), DIM)


def test_duplicate_ids() -> None:
    """An id that occurs twice in a batch is refused: stores differ in which of the two they keep."""
    with pytest.raises(ValueError, match="twice"):
        check_embeddings(photos("a", "b", "a"), unit(3), DIM)

"""Worker of benchmarks.peers: stores and searches vectors with one package.

    python -m benchmarks.workers.store_peers PACKAGE FOLDER URI

FOLDER holds vectors.npy (n, dim) of unit length, categories.npy and prices.npy (n,), queries.npy. Each package runs in
its own environment, stores the vectors with price and category before the first request, and finds the ten nearest
vectors that pass the filter.
"""

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from benchmarks.workers.worker_process import answer_all

DEPTH = 10
NLIST, NPROBE = 128, 64
CLIENTS = 4

Vectors = NDArray[np.float32]


class Condition(TypedDict):
    """A filter: an upper price, one category, or neither."""

    price_below: float | None
    category: int | None


class Photos:
    """Vectors, categories and prices to store, and the queries."""

    def __init__(self, folder: Path) -> None:
        self.vectors: Vectors = np.load(folder / "vectors.npy")
        self.categories: NDArray[np.int64] = np.load(folder / "categories.npy")
        self.prices: NDArray[np.int64] = np.load(folder / "prices.npy")
        self.queries: Vectors = np.load(folder / "queries.npy")


Find = Callable[[Vectors, Condition], list[int]]
"""One query (dim,) and a filter -> rows of the nearest photos that pass, nearest first."""


def main() -> None:
    """Fill the store, then answer requests: an empty one with the seconds of filling, others with measurements."""
    warnings.simplefilter("ignore")
    packages: dict[str, Callable[[Photos, Path, str], Find]] = {
        "Lite": marketlens,
        "server": marketlens,
        "FAISS": raw_faiss,
        "student": student,
        "Qdrant": qdrant,
        "LanceDB": lancedb,
    }
    folder = Path(sys.argv[2])
    place = folder / sys.argv[1]
    place.mkdir()
    photos = Photos(folder)
    started = time.perf_counter()
    find = packages[sys.argv[1]](photos, place, sys.argv[3])
    fill_seconds = time.perf_counter() - started
    answer_all(lambda request: measure(find, photos.queries, request) if request else fill_seconds)


def measure(find: Find, queries: Vectors, request: dict[str, Any]) -> dict[str, Any]:
    """Return the rows found, the seconds of every search of one client, and searches per second of several clients."""
    condition: Condition = request["filter"]
    find(queries[0], condition)
    found, taken = [], []
    for query in queries:
        started = time.perf_counter()
        found.append([int(row) for row in find(query, condition)])
        taken.append(time.perf_counter() - started)
    done = [0] * CLIENTS
    end = time.perf_counter() + request["seconds"]

    def client(own: int) -> None:
        while time.perf_counter() < end:
            find(queries[(own + done[own]) % len(queries)], condition)
            done[own] += 1

    started = time.perf_counter()
    threads = [threading.Thread(target=client, args=(own,)) for own in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"found": found, "taken": taken, "rate": sum(done) / (time.perf_counter() - started)}


def marketlens(photos: Photos, place: Path, uri: str) -> Find:
    """Search through `PhotoCollection`, as the API does, with IVF_FLAT as in the settings."""
    from benchmarks import search
    from catalog.settings import IndexSettings
    from catalog.store.filters import SearchFilter

    collection = search.connect(uri or str(place / "milvus.db"), IndexSettings(), photos.vectors.shape[1])
    search.fill(collection, search.Case(photos.vectors, photos.categories, photos.prices, photos.queries))

    def find(query: Vectors, condition: Condition) -> list[int]:
        where = SearchFilter()
        if condition["price_below"] is not None:
            where = SearchFilter(price_max=condition["price_below"] - 1)
        if condition["category"] is not None:
            where = SearchFilter(categories=(f"c{condition['category']}",))
        hits = collection.reader.search(query[None], where, DEPTH, group_by="photo").hits
        return [int(hit.photo_id[1:]) for hit in hits]

    return find


def raw_faiss(photos: Photos, _: Path, __: str) -> Find:
    """Search the same kind of index in FAISS alone, in memory, with prepared selectors: the lower bound."""
    import faiss

    from benchmarks.search import faiss_index
    from catalog.settings import IndexSettings

    index = faiss_index(photos.vectors, IndexSettings(nlist=NLIST, nprobe=NPROBE))
    selectors: dict[str, Any] = {}

    def find(query: Vectors, condition: Condition) -> list[int]:
        rows = np.arange(len(photos.vectors))
        if condition["price_below"] is not None:
            rows = np.flatnonzero(photos.prices < condition["price_below"])
        if condition["category"] is not None:
            rows = np.flatnonzero(photos.categories == condition["category"])
        key = str(condition)
        if key not in selectors:
            selectors[key] = None if len(rows) == len(photos.vectors) else faiss.IDSelectorBatch(rows)
        _, ids = index.search(query[None], DEPTH, params=faiss.SearchParametersIVF(sel=selectors[key], nprobe=NPROBE))
        return list(ids[0])

    return find


def student(photos: Photos, _: Path, __: str) -> Find:
    """Search the student system's flat L2 index without filters; an app discards the hits that do not pass."""
    import faiss

    index = faiss.IndexFlatL2(photos.vectors.shape[1])
    index.add(photos.vectors)

    def find(query: Vectors, condition: Condition) -> list[int]:
        _, ids = index.search(query[None], DEPTH)
        rows = ids[0]
        if condition["price_below"] is not None:
            rows = rows[photos.prices[rows] < condition["price_below"]]
        if condition["category"] is not None:
            rows = rows[photos.categories[rows] == condition["category"]]
        return list(rows)

    return find


def qdrant(photos: Photos, place: Path, _: str) -> Find:
    """Search Qdrant's local mode in a folder: the client library alone, which compares with every vector."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(place))
    vectors = models.VectorParams(size=photos.vectors.shape[1], distance=models.Distance.COSINE)
    client.create_collection("photos", vectors_config=vectors)
    payload = [{"price": int(p), "category": int(c)} for p, c in zip(photos.prices, photos.categories, strict=True)]
    client.upload_collection("photos", vectors=photos.vectors, payload=payload, ids=range(len(photos.vectors)))

    def find(query: Vectors, condition: Condition) -> list[int]:
        must: list[Any] = []
        if condition["price_below"] is not None:
            must.append(models.FieldCondition(key="price", range=models.Range(lt=condition["price_below"])))
        if condition["category"] is not None:
            must.append(models.FieldCondition(key="category", match=models.MatchValue(value=condition["category"])))
        where = models.Filter(must=must) if must else None
        points = client.query_points("photos", query=query, query_filter=where, limit=DEPTH).points
        return [point.id for point in points]

    return find


def lancedb(photos: Photos, place: Path, _: str) -> Find:
    """Search LanceDB in a folder: IVF_FLAT with the same lists and probes, and scalar indexes on the filter columns."""
    import lancedb as lance
    import pyarrow as pa

    dim = photos.vectors.shape[1]
    columns = {
        "row": pa.array(np.arange(len(photos.vectors))),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(photos.vectors.ravel()), dim),
        "price": pa.array(photos.prices, pa.float64()),
        "category": pa.array(photos.categories),
    }
    table = lance.connect(str(place)).create_table("photos", pa.table(columns))
    table.create_index(metric="cosine", num_partitions=NLIST, index_type="IVF_FLAT")
    table.create_scalar_index("price")
    table.create_scalar_index("category")

    def find(query: Vectors, condition: Condition) -> list[int]:
        search = table.search(query).distance_type("cosine").nprobes(NPROBE).limit(DEPTH).select(["row", "_distance"])
        if condition["price_below"] is not None:
            search = search.where(f"price < {condition['price_below']}", prefilter=True)
        if condition["category"] is not None:
            search = search.where(f"category = {condition['category']}", prefilter=True)
        return list(search.to_arrow()["row"].to_pylist())

    return find


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # the stores' clients leave threads running

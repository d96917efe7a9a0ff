"""Packages that store and search vectors; benchmarks.peers asks each in turn.

    python -m benchmarks.workers.store_peers PACKAGE FOLDER …

FOLDER holds vectors.npy (n, dim) of unit length, looks.npy and prices.npy (n,), queries.npy. Each way runs in its own
environment, keeps the vectors with price and category before it is first asked, and finds the ten nearest that pass.
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


class Passing(TypedDict):
    """A filter: prices below, or one category, or neither."""

    below: float | None
    look: int | None


class Photos:
    """What is to be kept."""

    def __init__(self, folder: Path) -> None:
        self.vectors: Vectors = np.load(folder / "vectors.npy")
        self.looks: NDArray[np.int64] = np.load(folder / "looks.npy")
        self.prices: NDArray[np.int64] = np.load(folder / "prices.npy")
        self.queries: Vectors = np.load(folder / "queries.npy")


Find = Callable[[Vectors, Passing], list[int]]
"""One query (dim,) -> rows of the nearest photos that pass, nearest first."""


def main() -> None:
    """Fill the store, then answer: first how it was filled, then each filter."""
    warnings.simplefilter("ignore")
    ways: dict[str, Callable[[Photos, Path, str], Find]] = {
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
    find = ways[sys.argv[1]](photos, place, sys.argv[3])
    filled = time.perf_counter() - started
    answer_all(lambda question: measure(find, photos.queries, question) if question else filled)


def measure(find: Find, queries: Vectors, question: dict[str, Any]) -> dict[str, Any]:
    """Rows found, seconds of every search of one client, and searches a second of several."""
    passing: Passing = question["passing"]
    find(queries[0], passing)
    found, taken = [], []
    for query in queries:
        started = time.perf_counter()
        found.append([int(one) for one in find(query, passing)])
        taken.append(time.perf_counter() - started)
    done = [0] * CLIENTS
    end = time.perf_counter() + question["seconds"]

    def client(own: int) -> None:
        while time.perf_counter() < end:
            find(queries[(own + done[own]) % len(queries)], passing)
            done[own] += 1

    started = time.perf_counter()
    threads = [threading.Thread(target=client, args=(own,)) for own in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"found": found, "taken": taken, "rate": sum(done) / (time.perf_counter() - started)}


def marketlens(photos: Photos, place: Path, uri: str) -> Find:
    """Through `PhotoCollection`, as ingest and API do; IVF_FLAT by its settings."""
    from benchmarks import search
    from catalog.settings import IndexSettings
    from catalog.store.filters import SearchFilter

    collection = search.connect(uri or str(place / "milvus.db"), IndexSettings(), photos.vectors.shape[1])
    search.fill(collection, search.Case(photos.vectors, photos.looks, photos.prices, photos.queries))

    def find(query: Vectors, passing: Passing) -> list[int]:
        where = SearchFilter()
        if passing["below"] is not None:
            where = SearchFilter(price_max=passing["below"] - 1)
        if passing["look"] is not None:
            where = SearchFilter(categories=(f"c{passing['look']}",))
        hits = collection.reader.search(query[None], where, DEPTH, group_by="photo").hits
        return [int(hit.photo_id[1:]) for hit in hits]

    return find


def raw_faiss(photos: Photos, _: Path, __: str) -> Find:
    """The same index by hand in memory, filters as ready selectors: the floor."""
    import faiss

    from benchmarks.search import faiss_index
    from catalog.settings import IndexSettings

    made = faiss_index(photos.vectors, IndexSettings(nlist=NLIST, nprobe=NPROBE))
    selectors: dict[str, Any] = {}

    def find(query: Vectors, passing: Passing) -> list[int]:
        rows = np.arange(len(photos.vectors))
        if passing["below"] is not None:
            rows = np.flatnonzero(photos.prices < passing["below"])
        if passing["look"] is not None:
            rows = np.flatnonzero(photos.looks == passing["look"])
        key = str(passing)
        if key not in selectors:
            selectors[key] = None if len(rows) == len(photos.vectors) else faiss.IDSelectorBatch(rows)
        _, ids = made.search(query[None], DEPTH, params=faiss.SearchParametersIVF(sel=selectors[key], nprobe=NPROBE))
        return list(ids[0])

    return find


def student(photos: Photos, _: Path, __: str) -> Find:
    """The student system: one flat L2 index of all vectors, no filters; an app throws away what does not pass."""
    import faiss

    made = faiss.IndexFlatL2(photos.vectors.shape[1])
    made.add(photos.vectors)

    def find(query: Vectors, passing: Passing) -> list[int]:
        _, ids = made.search(query[None], DEPTH)
        rows = ids[0]
        if passing["below"] is not None:
            rows = rows[photos.prices[rows] < passing["below"]]
        if passing["look"] is not None:
            rows = rows[photos.looks[rows] == passing["look"]]
        return list(rows)

    return find


def qdrant(photos: Photos, place: Path, _: str) -> Find:
    """Qdrant's local mode in a folder: the client library alone, which compares with every vector."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=str(place))
    vectors = models.VectorParams(size=photos.vectors.shape[1], distance=models.Distance.COSINE)
    client.create_collection("photos", vectors_config=vectors)
    payload = [{"price": int(p), "category": int(c)} for p, c in zip(photos.prices, photos.looks, strict=True)]
    client.upload_collection("photos", vectors=photos.vectors, payload=payload, ids=range(len(photos.vectors)))

    def find(query: Vectors, passing: Passing) -> list[int]:
        must: list[Any] = []
        if passing["below"] is not None:
            must.append(models.FieldCondition(key="price", range=models.Range(lt=passing["below"])))
        if passing["look"] is not None:
            must.append(models.FieldCondition(key="category", match=models.MatchValue(value=passing["look"])))
        where = models.Filter(must=must) if must else None
        return [one.id for one in client.query_points("photos", query=query, query_filter=where, limit=DEPTH).points]

    return find


def lancedb(photos: Photos, place: Path, _: str) -> Find:
    """LanceDB in a folder, IVF_FLAT with the same lists and probes, scalar indexes on what is filtered by."""
    import lancedb as lance
    import pyarrow as pa

    dim = photos.vectors.shape[1]
    columns = {
        "row": pa.array(np.arange(len(photos.vectors))),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(photos.vectors.ravel()), dim),
        "price": pa.array(photos.prices, pa.float64()),
        "category": pa.array(photos.looks),
    }
    table = lance.connect(str(place)).create_table("photos", pa.table(columns))
    table.create_index(metric="cosine", num_partitions=NLIST, index_type="IVF_FLAT")
    table.create_scalar_index("price")
    table.create_scalar_index("category")

    def find(query: Vectors, passing: Passing) -> list[int]:
        asked = table.search(query).distance_type("cosine").nprobes(NPROBE).limit(DEPTH).select(["row", "_distance"])
        if passing["below"] is not None:
            asked = asked.where(f"price < {passing['below']}", prefilter=True)
        if passing["look"] is not None:
            asked = asked.where(f"category = {passing['look']}", prefilter=True)
        return list(asked.to_arrow()["row"].to_pylist())

    return find


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # clients of stores leave threads behind

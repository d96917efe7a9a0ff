"""Filtered search: recall@10, latency and throughput by share of photos that pass the filter, compared with raw FAISS.

    .venv/bin/python -m benchmarks.search [--photos 10000 100000] [--index IVF_FLAT HNSW] [--clients 4 16]
        [--stores lite server] [--uri http://127.0.0.1:19530] [--dim 512] [--seconds 2] [--rounds 3]

Milvus and FAISS hold the same vectors: about 20 photos around each item, items around 40 styles in each of 13
categories, with Gaussian noise at each step; queries are photos of the collection with noise. Filters are a price that
does not depend on the vector (50 % to 0.1 %), and one category, which few queries belong to. A server is started for
the run unless `--uri` is given, where the collection is dropped afterwards. Milvus and FAISS take turns in each round.
Recall@10 is relative to an exact comparison, in numpy, with every vector that passes the filter.
"""

import argparse
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.report.results import Cell, Table, figure, publish, ratio
from benchmarks.support.milvus_servers import milvus_server
from catalog.listing import Embeddings, Listing, Photo, StoredPhoto
from catalog.search.full_pages import PageRequest
from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from catalog.store.filters import SearchFilter

PERCENT = (100, 50, 20, 10, 5, 1, 0.1)
CATEGORIES, STYLES, PRICES = 13, 40, 1_000
DEPTH = 10
QUERIES = 50
BATCH = 16
# For that long after it reports our index as built, a server still answers from an interim index, which loses hits.
HANDOVER_SECONDS = 25


@dataclass
class Case:
    """The photos of one size: vectors, the fields that filters use, and queries."""

    vectors: Embeddings
    categories: NDArray[np.int64]
    prices: NDArray[np.int64]
    queries: Embeddings


@dataclass
class Filter:
    """One row of the table: a filter, and the photos that pass it."""

    name: str
    where: SearchFilter
    passing: NDArray[np.int64]
    percent: float | None


def main() -> None:
    """Fill each store once per size and index, and publish a table for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, nargs="+", default=[10_000])
    parser.add_argument("--index", nargs="+", default=["IVF_FLAT", "IVF_SQ8", "HNSW"])
    parser.add_argument("--stores", nargs="+", default=["lite", "server"], choices=["lite", "server"])
    parser.add_argument("--uri", default="", help="address of a server; by default one is started")
    parser.add_argument("--clients", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds to measure each figure in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passing", type=float, nargs="+", default=PERCENT, help="percent that pass the price filters")
    arguments = parser.parse_args()
    for count in arguments.photos:
        case = make_case(count, arguments.dim)
        for kind in arguments.index:
            index = IndexSettings.model_validate({"type": kind})
            for store in arguments.stores:
                with tempfile.TemporaryDirectory(prefix="marketlens-bench-") as folder:
                    measured = [
                        condition for condition in filters(case) if condition.percent in (*arguments.passing, None)
                    ]
                    options = (arguments.clients, arguments.seconds, arguments.rounds)
                    if store == "lite":
                        measure(case, measured, index, f"{folder}/milvus.db", *options)
                    elif arguments.uri:
                        measure(case, measured, index, arguments.uri, *options)
                    else:
                        with milvus_server(Path(folder)) as uri:
                            if uri:
                                measure(case, measured, index, uri, *options)


def make_case(count: int, dim: int) -> Case:
    """Draw unit vectors (count, dim), and queries near some of them."""
    random = np.random.default_rng(0)

    def around(means: Embeddings, distance: float) -> Embeddings:
        vectors = means + distance / dim**0.5 * random.standard_normal(means.shape, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    categories = around(np.zeros((CATEGORIES, dim), np.float32), 1.0)
    styles = around(categories.repeat(STYLES, axis=0), 1.0)
    items = around(styles[random.integers(0, len(styles), max(count // 20, 1))], 0.7)
    of_item = random.integers(0, len(items), count)
    vectors = np.concatenate([around(items[part], 0.7) for part in np.array_split(of_item, max(count // 50_000, 1))])
    # An item belongs to the category with the nearest mean.
    labels = np.argmax(items @ categories.T, axis=1)[of_item]
    queries = around(vectors[random.integers(0, count, QUERIES)], 0.3)
    return Case(vectors, labels, random.integers(0, PRICES, count), queries)


def filters(case: Case) -> list[Filter]:
    """Return price filters for each share, and a category filter, which most queries do not belong to."""
    conditions = []
    for percent in PERCENT:
        below = PRICES * percent / 100
        where = SearchFilter() if percent == 100 else SearchFilter(price_max=below - 1)
        conditions.append(Filter(f"{percent:g} %", where, np.flatnonzero(case.prices < below), percent))
    category = SearchFilter(categories=("c3",))
    return [*conditions, Filter("one category", category, np.flatnonzero(case.categories == 3), None)]


def measure(
    case: Case,
    measured: list[Filter],
    index: IndexSettings,
    uri: str,
    clients: list[int],
    seconds: float,
    rounds: int,
) -> None:
    """Fill a store and publish its table."""
    photos = connect(uri, index, case.vectors.shape[1])
    baseline = faiss_index(case.vectors, index)
    fill(photos, case)
    rows = [
        measure_filter(photos, baseline, index, case, condition, clients, seconds, rounds) for condition in measured
    ]
    headings = ("recall@10", "p50 ms", "p99 ms", f"batches of {BATCH}: /s", *(f"{n} clients: /s" for n in clients))
    publish(
        Table(
            f"{len(case.vectors):,} photos, {index.type}, {'Lite' if photos.is_lite else 'server'}",
            ("passing", *headings, "FAISS recall", "FAISS p50 ms", "p50, x FAISS"),
            rows,
        )
    )
    drop(photos)


def connect(uri: str, index: IndexSettings, dim: int) -> PhotoCollection:
    """Create an empty collection under a new alias."""
    alias = f"bench_{uuid.uuid4().hex[:8]}"
    photos = PhotoCollection.connect(MilvusSettings(uri=uri, alias=alias, timeout=120), index)
    photos.ensure("be" * 32, dim)
    return photos


def drop(photos: PhotoCollection) -> None:
    """Close the collection; on a server, drop it first."""
    if not photos.is_lite:
        info = photos.info(fresh=True)
        photos._milvus.client.drop_alias(photos._milvus.settings.alias)
        photos._milvus.client.drop_collection(info.name)
    photos.close()


def measure_filter(
    photos: PhotoCollection,
    baseline: faiss.Index,
    index: IndexSettings,
    case: Case,
    condition: Filter,
    clients: list[int],
    seconds: float,
    rounds: int,
) -> list[Cell]:
    """Measure one filter round by round; return its row."""
    pages = photos.reader.search_many(
        [query[None] for query in case.queries], condition.where, PageRequest(DEPTH, "photo")
    )
    recall = share_found(case, condition, [[int(hit.photo_id[1:]) for hit in page.hits] for page in pages])

    def search(number: int) -> None:
        photos.reader.search(case.queries[number % QUERIES][None], condition.where, DEPTH, group_by="photo")

    def batch(number: int) -> None:
        chosen = [case.queries[(number + step) % QUERIES][None] for step in range(BATCH)]
        photos.reader.search_many(chosen, condition.where, PageRequest(DEPTH, "photo"))

    latencies, faiss_p50, batch_rates, client_rates = [], [], [], []
    found: list[list[int]] = []
    for _ in range(rounds):
        latencies.append(1_000 * np.array(run(search, 20, seconds)))
        found, taken = raw_faiss(baseline, index, case, condition)
        faiss_p50.append(1_000 * float(np.median(taken)))
        batches = run(batch, 3, seconds)
        batch_rates.append(BATCH * len(batches) / sum(batches))
        client_rates.append([rate(search, n, seconds) for n in clients])
    p50 = figure(float(np.median(milliseconds)) for milliseconds in latencies)
    return [
        condition.name,
        f"{recall:.3f}",
        p50,
        figure(float(np.percentile(milliseconds, 99)) for milliseconds in latencies),
        figure(batch_rates),
        *(figure(rates) for rates in zip(*client_rates, strict=True)),
        f"{share_found(case, condition, found):.3f}",
        figure(faiss_p50),
        ratio(p50, figure(faiss_p50)),
    ]


def fill(photos: PhotoCollection, case: Case) -> None:
    """Write the photos, and wait until searches use the index."""
    for part in np.array_split(np.arange(len(case.vectors)), max(len(case.vectors) // 10_000, 1)):
        photos.writer.upsert([record(case, int(number)) for number in part], case.vectors[part])
    photos.writer.flush()
    photos.builds.finish(photos.info().name)
    if not photos.is_lite:
        time.sleep(HANDOVER_SECONDS)


def record(case: Case, number: int) -> StoredPhoto:
    """Return the record of a photo; two photos share a listing."""
    place = f"Town {number % 50}"
    category, price = f"c{case.categories[number]}", float(case.prices[number])
    listing = Listing(f"l{number // 2}", f"Thing {number // 2}", category, "Things / Other", price, "GBP", place, 0)
    return StoredPhoto(Photo(f"p{number}", listing, f"/photos/{number}.jpg"), f"{number:064x}", 0)


def run(call: Callable[[int], None], times: int, seconds: float) -> list[float]:
    """Call repeatedly after one warm-up call; return the seconds of each call."""
    call(0)
    taken: list[float] = []
    while len(taken) < times or sum(taken) < seconds:
        started = time.perf_counter()
        call(len(taken))
        taken.append(time.perf_counter() - started)
    return taken


def rate(call: Callable[[int], None], clients: int, seconds: float) -> float:
    """Return the calls per second of `clients` threads."""
    done = [0] * clients
    end = time.perf_counter() + seconds

    def client(own: int) -> None:
        while time.perf_counter() < end:
            call(own + done[own])
            done[own] += 1

    started = time.perf_counter()
    threads = [threading.Thread(target=client, args=(own,)) for own in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - started)


def faiss_index(vectors: Embeddings, index: IndexSettings) -> faiss.Index:
    """Build the same kind of index with FAISS alone."""
    dim = vectors.shape[1]
    if index.type == "HNSW":
        built = faiss.IndexHNSWFlat(dim, index.hnsw_m, faiss.METRIC_INNER_PRODUCT)
        built.hnsw.efConstruction = index.ef_construction
    else:
        kind = {"IVF_FLAT": "Flat", "IVF_SQ8": "SQ8", "IVF_PQ": f"PQ{index.pq_m}"}[index.type]
        built = faiss.index_factory(dim, f"IVF{index.nlist},{kind}", faiss.METRIC_INNER_PRODUCT)
        built.train(vectors[: 64 * index.nlist])
    built.add(vectors)
    return built


def raw_faiss(
    built: faiss.Index, index: IndexSettings, case: Case, condition: Filter
) -> tuple[list[list[int]], list[float]]:
    """Search with the settings for unfiltered searches, and the filter as a prepared selector."""
    selector = None if len(condition.passing) == len(case.vectors) else faiss.IDSelectorBatch(condition.passing)
    if index.type == "HNSW":
        params = faiss.SearchParametersHNSW(sel=selector, efSearch=index.ef)
    else:
        params = faiss.SearchParametersIVF(sel=selector, nprobe=index.nprobe)
    found, taken = [], []
    for query in case.queries:
        started = time.perf_counter()
        _, ids = built.search(query[None], DEPTH, params=params)
        taken.append(time.perf_counter() - started)
        found.append(ids[0].tolist())
    return found, taken


def share_found(case: Case, condition: Filter, found: list[list[int]]) -> float:
    """Return recall@10 relative to an exact comparison with every vector that passes the filter."""
    vectors = case.vectors[condition.passing]
    shares = []
    for query, ids in zip(case.queries, found, strict=True):
        true = condition.passing[np.argsort(-(vectors @ query))[:DEPTH]]
        shares.append(len(set(true.tolist()) & set(ids)) / len(true) if len(true) else 1.0)
    return float(np.mean(shares))


if __name__ == "__main__":
    main()

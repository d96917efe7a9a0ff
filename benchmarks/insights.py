"""`marketlens insights`: time per stage and peak memory; its neighbour search compared with exact numpy and FAISS.

    .venv/bin/python -m benchmarks.insights [--photos 10000 100000] [--dim 512] [--map 50000] [--rounds 3]

Synthetic vectors around 520 centres, two photos per listing; each run in its own process, for its peak memory. Stages
work on arrays, without Milvus and photo files; benchmarks.growth measures the whole job. FAISS and numpy compare 512
evenly spread photos with all others; the time for all photos is extrapolated. For these 512, the neighbours that the
job found are compared with the nearest ones.
"""

import argparse
import json
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.report.results import Table, figure, publish
from catalog.listing import Embeddings
from catalog.memory import peak_bytes
from catalog.progress import silent
from insights import category_overlap, map_layout, suggestions
from insights.duplicates.groups import near_pairs
from insights.neighbours import graph
from insights.snapshot import Snapshot

CATEGORIES, CENTRES_PER_CATEGORY = 13, 40
_SAMPLE = 512
_BLOCK = 65_536


def main() -> None:
    """Publish a table of stages for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--map", type=int, default=50_000, help="maximum number of photos on the map; 0 for none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", action="store_true", help="measure once, in this process")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.photos[0], arguments.dim, arguments.map)))
        return
    options = ("--dim", arguments.dim, "--map", arguments.map, "--one")
    for count in arguments.photos:
        command = [str(word) for word in (sys.executable, "-m", "benchmarks.insights", "--photos", count, *options)]
        runs = [subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout for _ in range(arguments.rounds)]
        show(f"{count:,} x {arguments.dim}", [json.loads(run) for run in runs])


def show(title: str, runs: list[dict[str, list[float]]]) -> None:
    """Publish a row for each stage."""
    rows = [(stage, *(figure(run[stage][column] for run in runs) for column in (0, 1))) for stage in runs[0]]
    publish(Table(title, ("stage", "seconds, or a share", "peak so far, GB"), rows))


def measure(count: int, dim: int, mapped: int) -> dict[str, list[float]]:
    """Run every stage once; return its seconds, and the peak memory so far in GB."""
    stages: dict[str, list[float]] = {}

    def row(stage: str, taken: float) -> None:
        stages[stage] = [taken, peak_bytes() / 1e9]

    embeddings = draw(count, dim)
    category = np.sort(np.random.default_rng(0).integers(0, CATEGORIES, count)).astype(np.int32)
    listing = (np.arange(count) // 2).astype(np.int32)
    row("vectors (generated, not read)", 0.0)

    started = time.perf_counter()
    neighbours = graph.neighbour_graph(embeddings, category, listing, silent)
    row("neighbours", time.perf_counter() - started)
    numpy_seconds, faiss_seconds, nearest = compare_with_all(embeddings, listing)
    row("comparison with all others by numpy, extrapolated", numpy_seconds)
    row("comparison with all others by FAISS, extrapolated", faiss_seconds)
    row("share of the neighbours that are the nearest", float((sample(neighbours.cosines) > nearest - 1e-4).mean()))
    if mapped:
        started = time.perf_counter()
        rows = map_layout.even_sample(count, mapped)
        places = map_layout.lay_out(embeddings[rows])
        row(f"map of {len(rows):,}", time.perf_counter() - started)
        started = time.perf_counter()
        map_layout.find_clusters(places)
        row("dense places", time.perf_counter() - started)
    names = [f"c{number}" for number in range(CATEGORIES)]
    started = time.perf_counter()
    model = SimpleNamespace(classify=classify, card=SimpleNamespace(categories=names), words=None)
    titles = [f"thing {number % 1_000} of kind {kind}" for number, kind in zip(listing, category, strict=True)]
    table = pa.table({"listing_id": [str(number) for number in listing], "title": titles})
    snapshot = Snapshot(table, embeddings, names, category, listing)
    suggestions.suggestions(snapshot, neighbours, model, np.zeros(count, bool), (), {}, silent)
    row("suggestions", time.perf_counter() - started)
    started = time.perf_counter()
    category_overlap.overlap(neighbours, category, CATEGORIES)
    category_overlap.distances(embeddings, category, CATEGORIES)
    row("overlap", time.perf_counter() - started)
    started = time.perf_counter()
    near_pairs(neighbours, listing, 0.95)
    row("pairs for duplicates", time.perf_counter() - started)
    return stages


def draw(count: int, dim: int) -> Embeddings:
    """Draw unit vectors (count, dim) in blocks: drawn at once, they would need more memory than the job."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(CATEGORIES * CENTRES_PER_CATEGORY, dim)).astype(np.float32)
    vectors = np.empty((count, dim), np.float32)
    for start in range(0, count, _BLOCK):
        block = vectors[start : start + _BLOCK]
        block[:] = centres[random.integers(0, len(centres), len(block))]
        block += random.standard_normal(block.shape, np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def sample(rows: Any) -> Any:
    """Return an evenly spread sample of the rows."""
    return rows[:: max(1, len(rows) // _SAMPLE)][:_SAMPLE]


def compare_with_all(embeddings: Embeddings, listing: NDArray[np.int32]) -> tuple[float, float, NDArray[np.float32]]:
    """Compare a sample with all photos; return seconds extrapolated to all, numpy's and FAISS', and nearest cosines."""
    queries, query_listings = np.ascontiguousarray(sample(embeddings)), sample(listing)
    started = time.perf_counter()
    cosines, rows = faiss.knn(queries, embeddings, graph.DEPTH + 2, metric=faiss.METRIC_INNER_PRODUCT)
    faiss_seconds = time.perf_counter() - started
    started = time.perf_counter()
    expected = np.empty_like(cosines)
    for start in range(0, len(queries), 64):  # all at once, numpy would need 2 GB for a million photos
        scores = queries[start : start + 64] @ embeddings.T
        best = np.argpartition(scores, -cosines.shape[1], axis=1)[:, -cosines.shape[1] :]
        expected[start : start + 64] = np.sort(np.take_along_axis(scores, best, axis=1), axis=1)[:, ::-1]
    numpy_seconds = time.perf_counter() - started
    assert np.allclose(cosines, expected, atol=1e-4)
    cosines[listing[rows] == query_listings[:, None]] = -1
    scale = len(embeddings) / len(queries)
    return numpy_seconds * scale, faiss_seconds * scale, -np.sort(-cosines, axis=1)[:, : graph.DEPTH]


def classify(embeddings: Embeddings) -> Embeddings:
    """Return probabilities, as a category head of the real size would."""
    scores = np.abs(embeddings[:, :CATEGORIES])
    return np.asarray(scores / scores.sum(axis=1, keepdims=True), np.float32)


if __name__ == "__main__":
    main()

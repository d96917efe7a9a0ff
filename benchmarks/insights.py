"""`marketlens insights`: time per stage and peak memory; neighbours beside numpy, and how many of them are the nearest.

    .venv/bin/python -m benchmarks.insights [--photos 10000 100000] [--dim 512] [--map 50000] [--rounds 3]

Synthetic vectors around 520 looks, two photos a listing; each run in a process of its own, for its peak. Stages work
on arrays, without Milvus and photo files; benchmarks.growth has the whole job. FAISS and numpy compare 512 photos,
evenly spread, with all: what all would take is computed from theirs. Of those 512, the neighbours that the job found
are compared with the nearest.
"""

import argparse
import json
import subprocess
import sys
import time
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.report.results import Table, figure, publish
from catalog.listing import Embeddings
from catalog.memory import peak_bytes
from catalog.progress import silent
from insights import category_overlap, map_layout, suggestions
from insights.duplicates.groups import near_pairs
from insights.neighbours import graph

CATEGORIES, LOOKS = 13, 40
_PROBE = 512
_DRAWN = 65_536


def main() -> None:
    """Print a table of stages for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--map", type=int, default=50_000, help="most photos on the map; 0 for none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", action="store_true", help="measure in this process")
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
    """A row for each stage."""
    rows = [(stage, *(figure(run[stage][place] for run in runs) for place in (0, 1))) for stage in runs[0]]
    publish(Table(title, ("stage", "seconds, or a share", "peak until then, GB"), rows))


def measure(count: int, dim: int, mapped: int) -> dict[str, list[float]]:
    """Run every stage once: its seconds, and the peak until then in GB."""
    stages: dict[str, list[float]] = {}

    def row(stage: str, taken: float) -> None:
        stages[stage] = [taken, peak_bytes() / 1e9]

    embeddings = draw(count, dim)
    category = np.sort(np.random.default_rng(0).integers(0, CATEGORIES, count)).astype(np.int32)
    listing = (np.arange(count) // 2).astype(np.int32)
    row("vectors (made, not read)", 0.0)

    started = time.perf_counter()
    found = graph.neighbour_graph(embeddings, category, listing, silent)
    row("neighbours", time.perf_counter() - started)
    by_numpy, by_faiss, nearest = compared(embeddings, listing)
    row("compared with all others by numpy, computed", by_numpy)
    row("compared with all others by FAISS, computed", by_faiss)
    row("share of the neighbours that are the nearest", float((probed(found.cosines) > nearest - 1e-4).mean()))
    if mapped:
        started = time.perf_counter()
        rows = map_layout.even_sample(count, mapped)
        places = map_layout.lay_out(embeddings[rows])
        row(f"map of {len(rows):,}", time.perf_counter() - started)
        started = time.perf_counter()
        map_layout.dense_places(places)
        row("dense places", time.perf_counter() - started)
    names = [f"c{number}" for number in range(CATEGORIES)]
    started = time.perf_counter()
    suggestions.suggestions(embeddings, category, listing, found, names, classify, names)
    row("suggestions", time.perf_counter() - started)
    started = time.perf_counter()
    category_overlap.overlap(found, category, CATEGORIES)
    category_overlap.distances(embeddings, category, CATEGORIES)
    row("overlap", time.perf_counter() - started)
    started = time.perf_counter()
    near_pairs(found, listing, 0.95)
    row("pairs for duplicates", time.perf_counter() - started)
    return stages


def draw(count: int, dim: int) -> Embeddings:
    """Vectors (count, dim) of unit length, block by block: drawn at once, they would need more memory than the job."""
    random = np.random.default_rng(0)
    looks = random.normal(size=(CATEGORIES * LOOKS, dim)).astype(np.float32)
    vectors = np.empty((count, dim), np.float32)
    for start in range(0, count, _DRAWN):
        block = vectors[start : start + _DRAWN]
        block[:] = looks[random.integers(0, len(looks), len(block))]
        block += random.standard_normal(block.shape, np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def probed(rows: Any) -> Any:
    """Some, evenly spread."""
    return rows[:: max(1, len(rows) // _PROBE)][:_PROBE]


def compared(embeddings: Embeddings, listing: NDArray[np.int32]) -> tuple[float, float, NDArray[np.float32]]:
    """Seconds that all photos would take by numpy and by FAISS, from those of some; cosines of their nearest others."""
    queries, of = np.ascontiguousarray(probed(embeddings)), probed(listing)
    started = time.perf_counter()
    cosines, rows = faiss.knn(queries, embeddings, graph.DEPTH + 2, metric=faiss.METRIC_INNER_PRODUCT)
    by_faiss = time.perf_counter() - started
    started = time.perf_counter()
    expected = np.empty_like(cosines)
    for start in range(0, len(queries), 64):  # or numpy would need 2 GB for a million photos
        scores = queries[start : start + 64] @ embeddings.T
        best = np.argpartition(scores, -cosines.shape[1], axis=1)[:, -cosines.shape[1] :]
        expected[start : start + 64] = np.sort(np.take_along_axis(scores, best, axis=1), axis=1)[:, ::-1]
    by_numpy = time.perf_counter() - started
    assert np.allclose(cosines, expected, atol=1e-4)
    cosines[listing[rows] == of[:, None]] = -1
    whole = len(embeddings) / len(queries)
    return by_numpy * whole, by_faiss * whole, -np.sort(-cosines, axis=1)[:, : graph.DEPTH]


def classify(embeddings: Embeddings) -> Embeddings:
    """A head that is as large as ours."""
    told = np.abs(embeddings[:, :CATEGORIES])
    return np.asarray(told / told.sum(axis=1, keepdims=True), np.float32)


if __name__ == "__main__":
    main()

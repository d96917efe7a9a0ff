"""`marketlens insights`: time per stage and peak memory, and FAISS beside numpy.

    .venv/bin/python -m benchmarks.insights [--photos 10000 100000 1000000] [--dim 512] [--seconds 60] [--map 50000]
        [--rounds 3]

Synthetic vectors around 520 looks, two photos a listing; each run in a process of its own, for its peak. Stages work
on arrays, without Milvus and photo files. Where comparing all with all would take longer than `--seconds`, some,
evenly spread, are compared with all photos, and the time of all is estimated from theirs.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks.report import Table, figure, publish
from catalog.listing import Embeddings
from insights import duplicates, graph, laying_out, overlap, suggesting

CATEGORIES, LOOKS = 13, 40
_PROBE = 512
_DRAWN = 65_536


def main() -> None:
    """Print a table of stages for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=60.0, help="longer comparisons are estimated from a part")
    parser.add_argument("--map", type=int, default=50_000, help="most photos on the map; 0 for none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", action="store_true", help="measure in this process")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.photos[0], arguments.dim, arguments.seconds, arguments.map)))
        return
    options = ("--dim", arguments.dim, "--seconds", arguments.seconds, "--map", arguments.map, "--one")
    for count in arguments.photos:
        command = [str(word) for word in (sys.executable, "-m", "benchmarks.insights", "--photos", count, *options)]
        runs = [subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout for _ in range(arguments.rounds)]
        show(f"{count:,} x {arguments.dim}", [json.loads(run) for run in runs])


def show(title: str, runs: list[dict[str, list[float]]]) -> None:
    """A row for each stage."""
    rows = [(stage, *(figure(run[stage][place] for run in runs) for place in (0, 1))) for stage in runs[0]]
    publish(Table(title, ("stage", "seconds", "peak until then, GB"), rows))


def measure(count: int, dim: int, seconds: float, mapped: int) -> dict[str, list[float]]:
    """Run every stage once: its seconds, and the peak until then in GB."""
    stages: dict[str, list[float]] = {}

    def row(stage: str, taken: float) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # Linux: in kilobytes
        stages[stage] = [taken, peak]

    embeddings = draw(count, dim)
    category = np.sort(np.random.default_rng(0).integers(0, CATEGORIES, count)).astype(np.int32)
    listing = (np.arange(count) // 2).astype(np.int32)
    row("vectors (made, not read)", 0.0)

    ratio, estimate = beside_numpy(embeddings)
    row(f"FAISS' time for the neighbours of {_PROBE}, x numpy's", ratio)
    started = time.perf_counter()
    if estimate <= seconds:
        found = graph.neighbour_graph(embeddings, category, listing, lambda _: None)
        row("neighbours", time.perf_counter() - started)
    else:
        row(f"neighbours, estimated from {_PROBE} queries", estimate)
        found = stand_in(count)
    if mapped:
        started = time.perf_counter()
        rows = laying_out.even_sample(count, mapped)
        places = laying_out.lay_out(embeddings[rows])
        row(f"map of {len(rows):,}", time.perf_counter() - started)
        started = time.perf_counter()
        laying_out.dense_places(places)
        row("dense places", time.perf_counter() - started)
    names = [f"c{number}" for number in range(CATEGORIES)]
    started = time.perf_counter()
    suggesting.suggestions(embeddings, category, listing, found, names, classify, names)
    row("suggestions", time.perf_counter() - started)
    started = time.perf_counter()
    overlap.overlap(found, category, CATEGORIES)
    overlap.distances(embeddings, category, CATEGORIES)
    row("overlap", time.perf_counter() - started)
    started = time.perf_counter()
    duplicates.near_pairs(found, listing, 0.95)
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


def beside_numpy(embeddings: Embeddings) -> tuple[float, float]:
    """FAISS' time for the neighbours of some photos as a share of numpy's, and what all photos would take."""
    import faiss

    queries = np.ascontiguousarray(embeddings[:: max(1, len(embeddings) // _PROBE)][:_PROBE])
    started = time.perf_counter()
    cosines, _ = faiss.knn(queries, embeddings, graph.DEPTH + 2, metric=faiss.METRIC_INNER_PRODUCT)
    by_faiss = time.perf_counter() - started
    started = time.perf_counter()
    expected = np.empty_like(cosines)
    for start in range(0, len(queries), 64):  # or numpy would need 2 GB for a million photos
        scores = queries[start : start + 64] @ embeddings.T
        best = np.argpartition(scores, -cosines.shape[1], axis=1)[:, -cosines.shape[1] :]
        expected[start : start + 64] = np.sort(np.take_along_axis(scores, best, axis=1), axis=1)[:, ::-1]
    by_numpy = time.perf_counter() - started
    assert np.allclose(cosines, expected, atol=1e-4)
    return by_faiss / by_numpy, by_faiss * len(embeddings) / len(queries)


def stand_in(count: int) -> graph.Graph:
    """A graph of the right size and random content: what follows takes as long with it."""
    random = np.random.default_rng(0)
    rows = random.integers(0, count, (count, graph.DEPTH), np.int32)
    cosines = -np.sort(-random.random((count, graph.DEPTH), np.float32) * 0.951, axis=1)
    return graph.Graph(rows, cosines, random.random(count, np.float32))


def classify(embeddings: Embeddings) -> Embeddings:
    """A head that is as large as ours."""
    told = np.abs(embeddings[:, :CATEGORIES])
    return np.asarray(told / told.sum(axis=1, keepdims=True), np.float32)


if __name__ == "__main__":
    main()

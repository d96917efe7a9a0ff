"""Growth of ingest, search and insights with the number of photos: time, memory, disk, and the exponent of each.

    .venv/bin/python -m benchmarks.growth [--photos 1000 10000 100000] [--stores lite server] [--rounds 3]
        [--once 100000] [--lite 100000] [--map 50000] [--settle 25]

Photos are drawings of 192 px, which are read and decoded. Synthetic vectors of 512 dimensions around 520 centres
replace the network; everything else is real: `marketlens ingest`, consecutive searches, `marketlens insights`. Ingest
and searches share a process, insights run in another; memory is the peak of each. Sizes from `--once` on, which take
minutes to an hour, run once, after all rounds of the others. The exponent is the least-squares slope through the
logarithms of all runs, with its standard error.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from benchmarks.report.results import Cell, Figure, Plot, Table, exponent, figure, publish, ratio
from benchmarks.search import drop
from benchmarks.support.milvus_servers import in_ram, milvus_server, on_disk
from benchmarks.support.sample_exports import drawings
from catalog.exports.export import open_export
from catalog.listing import Embeddings
from catalog.memory import peak_bytes
from catalog.photo_files.hosts import make_reader
from catalog.progress import silent
from catalog.runs.report import Report
from catalog.settings import IndexSettings, IngestSettings, InsightsSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from catalog.store.filters import SearchFilter
from embedding.card import ArchitectureConfig, ModelCard, TransformConfig, TwoPartHeadConfig
from embedding.embedder import Embedder
from ingest.engines.local import run_locally
from ingest.run import IngestJob, ingest
from insights.run import run as run_insights
from marketlens.terminal import FAISS_ADVICE, filter_stderr

DIM, CENTRES = 512, 520
SEARCHES, LIMIT = 100, 20

Measured = dict[str, float]


class Synthetic:
    """Replaces the network: returns a vector near a random centre for every photo."""

    def __init__(self, seed: int) -> None:
        self._centres = np.random.default_rng(0).normal(size=(CENTRES, DIM)).astype(np.float32)
        self._random = np.random.default_rng(seed)

    def run(self, pixels: NDArray[np.uint8]) -> Embeddings:
        """Return unit vectors (n, 512)."""
        vectors = self._centres[self._random.integers(0, CENTRES, len(pixels))]
        vectors += self._random.standard_normal(vectors.shape, np.float32)
        unit: Embeddings = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


@dataclass(frozen=True)
class SyntheticModel:
    """The model interface that ingest needs."""

    embedder: Embedder
    folder: Path

    @property
    def card(self) -> ModelCard:
        """The embedder's card."""
        return self.embedder.card


def main() -> None:
    """Measure every size in every round, on each store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--stores", nargs="+", default=["lite", "server"], choices=["lite", "server"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--once", type=int, default=100_000, help="run sizes from this one on only once")
    parser.add_argument("--lite", type=int, default=100_000, help="largest size for Milvus Lite")
    parser.add_argument("--map", type=int, default=50_000, help="maximum number of photos on the insights map")
    parser.add_argument("--settle", type=float, default=25.0, help="seconds to wait for a server to load its index")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="marketlens-bench-")))
        exports = {size: drawings(size, folder / "photos") for size in arguments.photos}
        for store in arguments.stores:
            with milvus_server(folder / "server") if store == "server" else nullcontext("") as uri:
                if store == "server" and not uri:
                    continue
                sizes = [size for size in exports if uri or size <= arguments.lite]
                runs: dict[int, list[Measured]] = {size: [] for size in sizes}
                order = [size for _ in range(arguments.rounds) for size in sizes if size < arguments.once]
                order += [size for size in sizes if size >= arguments.once]
                try:
                    for number, size in track(list(enumerate(order)), store, console=Console(stderr=True)):
                        place = folder / f"{store}-{number}"
                        place.mkdir()
                        options = {"map": min(arguments.map, size), "settle": arguments.settle if uri else 0.0}
                        job = {"uri": uri, "place": str(place), "export": str(exports[size]), **options}
                        data = folder / "server" / "data" if uri else place / "milvus.db"
                        for measured in measure(job, data):
                            runs[size].append(measured)
                finally:  # show the figures so far if somebody stops the benchmark after hours
                    if finished := {size: results for size, results in runs.items() if results}:
                        show(store, finished, arguments.map)


def measure(job: dict[str, object], data: Path) -> Iterator[Measured]:
    """Measure one size once, in two processes; yield the figures of each."""
    before = on_disk(data) if data.exists() else 0
    measured = run_subprocess("fill", job)
    measured["disk, MB"] = (on_disk(data) - before) / 1e6
    if job["uri"]:
        measured["server, resident MB"] = in_ram(data) / 1e6
    yield measured
    yield run_subprocess("insights", job)
    drop(connect(job))  # otherwise the server would hold this collection during the next run


def run_subprocess(task: str, job: dict[str, object]) -> Measured:
    """Run a task in a subprocess; return its figures, including its peak memory."""
    command = [sys.executable, "-m", "benchmarks.growth", task, json.dumps(job)]
    answer: Measured = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1])
    return answer


def fill(job: dict[str, object]) -> Measured:
    """Ingest the export, then search; return the figures of both."""
    place, photos = Path(str(job["place"])), connect(job)
    filter_stderr(FAISS_ADVICE)
    report = Report(export=str(job["export"]))
    settings = IngestSettings(ledger=place / "ledger")
    export, ignore = open_export(str(job["export"])), lambda _: None
    model = SyntheticModel(embedder(1), place)
    ingest(run_locally, IngestJob(export, model, photos, settings, report, ignore, ignore))
    assert report.written == report.read == export.photos, (report.read, report.written)
    peak = peak_bytes() / 1e6
    photos.reader.wait_for_scan_lag()
    time.sleep(float(str(job["settle"])))
    queries = Synthetic(2).run(np.empty((SEARCHES, 0), np.uint8))
    photos.reader.search(queries[:1], SearchFilter(), LIMIT)  # loads the collection
    taken = []
    for query in queries:
        started = time.perf_counter()
        assert len(photos.reader.search(query[None], SearchFilter(), LIMIT).hits) == LIMIT
        taken.append(1_000 * (time.perf_counter() - started))
    photos.close()
    p50, p99 = np.percentile(taken, (50, 99))
    return {"ingest, s": report.seconds, "ingest, peak MB": peak, "search, p50 ms": p50, "search, p99 ms": p99}


def compute_insights(job: dict[str, object]) -> Measured:
    """Compute the insights of the collection; return their figures."""
    photos = connect(job)
    place, mapped = Path(str(job["place"])), int(str(job["map"]))
    settings = InsightsSettings(folder=place / "insights", map_photos=mapped)
    started = time.perf_counter()
    with warnings.catch_warnings(action="ignore"):
        summary, _ = run_insights(photos, embedder(3), settings, read=make_reader(10_000_000, 20), progress=silent)
    seconds = time.perf_counter() - started
    photos.close()
    by_stage = summary.seconds
    return {
        "insights, s": seconds,
        "of which reading, s": by_stage["reading"],
        "of which neighbours, s": by_stage["neighbours"],
        "of which map, s": by_stage["map"],
        "insights, peak MB": peak_bytes() / 1e6,
        "insights, disk MB": on_disk(place / "insights") / 1e6,
    }


def connect(job: dict[str, object]) -> PhotoCollection:
    """Connect to the collection of this run."""
    place = Path(str(job["place"]))
    uri = str(job["uri"]) or str(place / "milvus.db")
    alias = f"growth_{place.name.replace('-', '_')}"
    settings = MilvusSettings(uri=uri, alias=alias, timeout=120)
    return PhotoCollection.connect(settings, IndexSettings(), consistency="Session")


def embedder(seed: int) -> Embedder:
    """Return an embedder that needs no model."""
    card = ModelCard(
        name="synthetic",
        architecture=ArchitectureConfig(head=TwoPartHeadConfig(categories=1)),
        transform=TransformConfig(),
        categories=["drawings"],
        parent="",
        licence="",
        fingerprint="5" * 64,
    )
    return Embedder(card, Synthetic(seed))


def show(store: str, runs: dict[int, list[Measured]], mapped: int) -> None:
    """Publish a row for each quantity, and plots of time and memory."""
    names = list(dict.fromkeys(name for results in runs.values() for measured in results for name in measured))
    by_name = {name: figures(name, runs) for name in names}
    rows: list[list[Cell]] = []
    for name, by_size in by_name.items():
        cells: list[Cell] = [by_size.get(size, "") for size in runs]
        # Growth needs two sizes, and times above zero.
        if len(by_size) > 1 and all(value > 0 for measured in by_size.values() for value in measured.values):
            first, *_, last = by_size.values()
            baseline = figure(first.values[: len(last.values)])  # the last size may have fewer runs
            cells += [ratio(last, baseline), exponent(list(by_size), list(by_size.values()))]
        else:
            cells += ["", ""]
        rows.append([name, *cells])
    plots = [
        plot(f"Growth, {store}: time", "seconds", by_name, ("ingest, s", "insights, s", "of which neighbours, s")),
        plot(f"Growth, {store}: memory and disk", "MB", by_name, [name for name in names if name.endswith("MB")]),
    ]
    store_name = "Milvus Lite" if store == "lite" else "a Milvus server"
    columns = ("quantity", *(f"{size:,} photos" for size in runs), "last / first", "grows as")
    cores = f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 1e9:.0f} GB"
    note = f"The map holds {mapped:,} photos at most. {cores}."
    publish(Table(f"Growth on {store_name}", columns, rows, note, plots))


def figures(name: str, runs: dict[int, list[Measured]]) -> dict[int, Figure]:
    """Return one quantity for each size at which it was measured."""
    by_size = {size: [measured[name] for measured in results if name in measured] for size, results in runs.items()}
    return {size: figure(values) for size, values in by_size.items() if values}


def plot(title: str, unit: str, by_name: dict[str, dict[int, Figure]], names: list[str] | tuple[str, ...]) -> Plot:
    """Plot lines over the number of photos."""
    lines: dict[str, list[tuple[float | str, Figure]]] = {
        name: [(float(size), value) for size, value in by_name[name].items()] for name in names if name in by_name
    }
    return Plot(title, "photos", unit, lines)


if __name__ == "__main__":
    if sys.argv[1:2] in (["fill"], ["insights"]):
        task = fill if sys.argv[1] == "fill" else compute_insights
        print(json.dumps(task(json.loads(sys.argv[2]))))
    else:
        main()

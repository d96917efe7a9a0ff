"""How ingest, search and insights grow with the photos: time, memory, disk, and the exponent of each.

    .venv/bin/python -m benchmarks.growth [--photos 1000 10000 100000] [--stores lite server] [--rounds 3]
        [--once 100000] [--lite 100000] [--map 50000] [--settle 25]

Drawings of 192 px are read and decoded; synthetic vectors of 512 dimensions around 520 looks stand in for the network,
all else is done as ever: `marketlens ingest`, searches one after the other, `marketlens insights`. Ingest and searches
share a process, insights have one of their own: memory is the most that each held. Sizes from `--once` on, which take
minutes to an hour, run once, after all rounds of the others. The exponent is the slope of least squares through the
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
from benchmarks.support.sample_exports import drawn
from catalog.exports.export import open_export
from catalog.listing import Embeddings
from catalog.memory import peak_bytes
from catalog.photo_files.hosts import reader
from catalog.progress import silent
from catalog.runs.report import Report
from catalog.settings import IndexSettings, IngestSettings, InsightsSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from catalog.store.filters import SearchFilter
from embedding.card import ArchitectureConfig, ModelCard, TransformConfig, TwoPartHeadConfig
from embedding.embedder import Embedder
from ingest.engines.local import run_locally
from ingest.run import IngestJob, ingest
from insights.run import run as look_at_all
from marketlens.terminal import FAISS_ADVICE, hush

DIM, LOOKS = 512, 520
SEARCHES, LIMIT = 100, 20

Measured = dict[str, float]


class Synthetic:
    """In place of the network: a vector near one of the looks for every photo."""

    def __init__(self, seed: int) -> None:
        self._looks = np.random.default_rng(0).normal(size=(LOOKS, DIM)).astype(np.float32)
        self._random = np.random.default_rng(seed)

    def run(self, pixels: NDArray[np.uint8]) -> Embeddings:
        """Unit vectors (n, 512)."""
        vectors = self._looks[self._random.integers(0, LOOKS, len(pixels))]
        vectors += self._random.standard_normal(vectors.shape, np.float32)
        unit: Embeddings = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


@dataclass(frozen=True)
class SyntheticModel:
    """What ingest wants to know of a model."""

    embedder: Embedder
    folder: Path

    @property
    def card(self) -> ModelCard:
        """That of the embedder."""
        return self.embedder.card


def main() -> None:
    """Every size in every round, on each store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--stores", nargs="+", default=["lite", "server"], choices=["lite", "server"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--once", type=int, default=100_000, help="from this size on a single round: it takes long")
    parser.add_argument("--lite", type=int, default=100_000, help="no more in Milvus Lite, which is in the process")
    parser.add_argument("--map", type=int, default=50_000, help="most photos on the map of insights")
    parser.add_argument("--settle", type=float, default=25.0, help="seconds that a server may take its index over in")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="marketlens-bench-")))
        exports = {size: drawn(size, folder / "photos") for size in arguments.photos}
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
                        for found in measure(job, data):
                            runs[size].append(found)
                finally:  # whoever stops it after hours has the hours' figures
                    if measured := {size: many for size, many in runs.items() if many}:
                        show(store, measured, arguments.map)


def measure(job: dict[str, object], data: Path) -> Iterator[Measured]:
    """One size once, in two processes: what the first measured, then what the second did."""
    before = on_disk(data) if data.exists() else 0
    measured = in_a_process("fill", job)
    measured["disk, MB"] = (on_disk(data) - before) / 1e6
    if job["uri"]:
        measured["server, resident MB"] = in_ram(data) / 1e6
    yield measured
    yield in_a_process("look", job)
    drop(connected(job))  # or the next one's server would hold both


def in_a_process(task: str, job: dict[str, object]) -> Measured:
    """What this task measured, and the most memory that its process held."""
    command = [sys.executable, "-m", "benchmarks.growth", task, json.dumps(job)]
    answer: Measured = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1])
    return answer


def fill(job: dict[str, object]) -> Measured:
    """Ingest, then search."""
    place, photos = Path(str(job["place"])), connected(job)
    hush(FAISS_ADVICE)
    report = Report(export=str(job["export"]))
    settings = IngestSettings(ledger=place / "ledger")
    export, unsaid = open_export(str(job["export"])), lambda _: None
    model = SyntheticModel(embedder(1), place)
    ingest(run_locally, IngestJob(export, model, photos, settings, report, unsaid, unsaid))
    assert report.written == report.read == export.photos, (report.read, report.written)
    peak = peak_bytes() / 1e6
    photos.reader.settle()
    time.sleep(float(str(job["settle"])))
    queries = Synthetic(2).run(np.empty((SEARCHES, 0), np.uint8))
    photos.reader.search(queries[:1], SearchFilter(), LIMIT)  # loads it
    taken = []
    for query in queries:
        started = time.perf_counter()
        assert len(photos.reader.search(query[None], SearchFilter(), LIMIT).hits) == LIMIT
        taken.append(1_000 * (time.perf_counter() - started))
    photos.close()
    p50, p99 = np.percentile(taken, (50, 99))
    return {"ingest, s": report.seconds, "ingest, peak MB": peak, "search, p50 ms": p50, "search, p99 ms": p99}


def look(job: dict[str, object]) -> Measured:
    """The collection as a whole."""
    photos = connected(job)
    place, mapped = Path(str(job["place"])), int(str(job["map"]))
    settings = InsightsSettings(folder=place / "insights", map_photos=mapped)
    started = time.perf_counter()
    with warnings.catch_warnings(action="ignore"):
        summary, _ = look_at_all(photos, embedder(3), settings, read=reader(10_000_000, 20), progress=silent)
    seconds = time.perf_counter() - started
    photos.close()
    spent = summary.seconds
    return {
        "insights, s": seconds,
        "of which reading, s": spent["reading"],
        "of which neighbours, s": spent["neighbours"],
        "of which map, s": spent["map"],
        "insights, peak MB": peak_bytes() / 1e6,
        "insights, disk MB": on_disk(place / "insights") / 1e6,
    }


def connected(job: dict[str, object]) -> PhotoCollection:
    """The collection of this run alone."""
    place = Path(str(job["place"]))
    uri = str(job["uri"]) or str(place / "milvus.db")
    alias = f"growth_{place.name.replace('-', '_')}"
    settings = MilvusSettings(uri=uri, alias=alias, timeout=120)
    return PhotoCollection.connect(settings, IndexSettings(), consistency="Session")


def embedder(seed: int) -> Embedder:
    """One that needs no model."""
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
    """A row for each quantity, and plots of time and memory."""
    names = list(dict.fromkeys(name for many in runs.values() for one in many for name in one))
    found = {name: figures(name, runs) for name in names}
    rows: list[list[Cell]] = []
    for name, by_size in found.items():
        cells: list[Cell] = [by_size.get(size, "") for size in runs]
        # What was measured at one size alone, or took no time that could be measured, has not grown.
        if len(by_size) > 1 and all(value > 0 for one in by_size.values() for value in one.values):
            first, *_, last = by_size.values()
            paired = figure(first.values[: len(last.values)])  # there may be fewer of the last
            cells += [ratio(last, paired), exponent(list(by_size), list(by_size.values()))]
        else:
            cells += ["", ""]
        rows.append([name, *cells])
    plots = [
        plot(f"Growth, {store}: time", "seconds", found, ("ingest, s", "insights, s", "of which neighbours, s")),
        plot(f"Growth, {store}: memory and disk", "MB", found, [name for name in names if name.endswith("MB")]),
    ]
    where = "Milvus Lite" if store == "lite" else "a Milvus server"
    columns = ("quantity", *(f"{size:,} photos" for size in runs), "last / first", "grows as")
    cores = f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 1e9:.0f} GB"
    note = f"The map holds {mapped:,} photos at most. {cores}."
    publish(Table(f"Growth on {where}", columns, rows, note, plots))


def figures(name: str, runs: dict[int, list[Measured]]) -> dict[int, Figure]:
    """One quantity at the sizes where it was measured."""
    found = {size: [one[name] for one in many if name in one] for size, many in runs.items()}
    return {size: figure(values) for size, values in found.items() if values}


def plot(title: str, unit: str, found: dict[str, dict[int, Figure]], names: list[str] | tuple[str, ...]) -> Plot:
    """Lines over the number of photos."""
    lines: dict[str, list[tuple[float | str, Figure]]] = {
        name: [(float(size), value) for size, value in found[name].items()] for name in names if name in found
    }
    return Plot(title, "photos", unit, lines)


if __name__ == "__main__":
    if sys.argv[1:2] in (["fill"], ["look"]):
        task = fill if sys.argv[1] == "fill" else look
        print(json.dumps(task(json.loads(sys.argv[2]))))
    else:
        main()

"""Ingest beside the plain way and the engine alone, on the same photos in one run: photos/s, ratios, memory, growth.

    .venv/bin/python -m benchmarks.ingest ../shared/listings [--photos 600] [--large 300] [--rounds 3] [--growth 50000]

(a) plain:   PIL, one photo at a time, eager torch in its default layout: what a first script does
(b) engine:  the embedder alone, on pixels that are in memory already: the ceiling
(c) ingest:  `marketlens ingest` into an empty store, reading, decoding and writing included: Milvus Lite, a server
(d) Ray:     the same with `--engine ray`, on a cluster of this machine, into the server

The ways take turns, each in a process of its own. Photos/s leave out the start of Python and the loading of the model;
those of (d) hold the start of the cluster and of its actors, which a few hundred photos do not pay for. Peak memory is
that of the process, Milvus Lite in it; of (d) that of the driver.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.exports import first_rows, grown
from benchmarks.ways import Job, Result
from catalog.exports import open_export
from tests.milvus_server import running_server

WAYS = ("a plain", "b engine", "c ingest, Lite", "c ingest, server", "d Ray, server")
GROWTH = (1_000, 5_000, 20_000, 50_000)

console = Console()


def main() -> None:
    """Measure each way in turn, several times, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export")
    parser.add_argument("--model", type=Path, default=Path("models/marketlens-resnet50"))
    parser.add_argument("--photos", type=int, default=600, help="small ones, as they are; 0: none")
    parser.add_argument("--large", type=int, default=300, help="photos scaled to 1600 px; 0: none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", type=int, default=50_000, help="up to so many photos; 0: leave it out")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="marketlens-bench-")))
        server = stack.enter_context(running_server(folder))
        for name, side, count in (("as they are", None, arguments.photos), ("1600 px", 1600, arguments.large)):
            if count:
                export = first_rows(open_export(arguments.export), count, folder / f"photos-{name}", side)
                jobs = [Job(way, str(export), str(arguments.model), _uri(way, folder, server)) for way in WAYS]
                show_ways(f"{count} photos, {name}", turns(jobs, arguments.rounds))
        if sizes := [size for size in GROWTH if size <= arguments.growth]:
            show_growth(arguments.export, sizes, folder, server)


def turns(jobs: Sequence[Job], rounds: int) -> dict[str, list[Result]]:
    """Every job `rounds` times, taking turns."""
    order = [job for _ in range(rounds) for job in jobs]
    results: dict[str, list[Result]] = {job.way: [] for job in jobs}
    for job in track(order, "Measuring", console=console):
        results[job.way].append(measure(job))
    return results


def measure(job: Job) -> Result:
    """One job, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ways", job.to_json()]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Result(**json.loads(answer.stdout.splitlines()[-1]))


def show_ways(title: str, results: dict[str, list[Result]]) -> None:
    """Medians with their spread, and ratios to the plain way and to the ceiling within each round."""
    table = Table(title=f"{title}, median of {len(results[WAYS[0]])} rounds (lowest to highest)")
    for heading in ("way", "photos/s", "x (a)", "x (b)", "peak MB"):
        table.add_column(heading, justify="right")
    for way, rounds in results.items():
        speeds = [result.photos / result.seconds for result in rounds]
        table.add_row(
            way,
            f"{statistics.median(speeds):.1f} ({min(speeds):.1f} to {max(speeds):.1f})",
            _ratio(rounds, results["a plain"]),
            _ratio(rounds, results["b engine"]),
            f"{statistics.median(result.peak_mb for result in rounds):,.0f}",
        )
    console.print(table)


def show_growth(export: str, sizes: Sequence[int], folder: Path, server: str) -> None:
    """How time and memory grow; synthetic vectors stand in for embeddings, all else is done."""
    table = Table(title="Growth: real photos read and decoded again and again, synthetic vectors, 512-d")
    for heading in ("photos", "store", "photos/s", "peak MB", "x memory of the first"):
        table.add_column(heading, justify="right")
    for way in ("e growth, Lite", "e growth, server"):
        first = 0.0
        for size in track(sizes, f"Growth, {way}", console=console):
            manifest = grown(open_export(export), size, folder / "grown")
            result = measure(Job(way, str(manifest), "", _uri(way, folder, server)))
            first = first or result.peak_mb
            table.add_row(
                f"{size:,}",
                way.rpartition(" ")[2],
                f"{result.photos / result.seconds:.0f}",
                f"{result.peak_mb:,.0f}",
                f"{result.peak_mb / first:.2f}",
            )
        table.add_section()
    console.print(table)


def _uri(way: str, folder: Path, server: str) -> str:
    return server if way.endswith("server") else str(folder / "milvus.db")


def _ratio(rounds: Sequence[Result], others: Sequence[Result]) -> str:
    ratios = [other.seconds / one.seconds for one, other in zip(rounds, others, strict=True)]
    return f"{statistics.median(ratios):.2f}"


if __name__ == "__main__":
    main()

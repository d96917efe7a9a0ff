"""Ingest beside the plain way and the engine alone, on the same photos in one run: photos/s, ratios, memory.

    .venv/bin/python -m benchmarks.ingest ../shared/listings [--photos 600] [--large 300] [--rounds 3] [--without-ray]

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
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.report.results import Figure, Plot, Table, figure, publish, ratio
from benchmarks.support.milvus_servers import milvus_server
from benchmarks.support.sample_exports import first_rows
from benchmarks.workers.ingest_worker import Job, Result
from benchmarks.workers.worker_process import rounds
from catalog.exports.export import open_export
from catalog.settings import shipped_model

WAYS = ("a plain", "b engine", "c ingest, Lite", "c ingest, server", "d Ray, server")

console = Console(stderr=True)


def main() -> None:
    """Measure each way in turn, several times, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export")
    parser.add_argument("--model", type=Path, default=shipped_model())
    parser.add_argument("--photos", type=int, default=600, help="small ones, as they are; 0: none")
    parser.add_argument("--large", type=int, default=300, help="photos scaled to 1600 px; 0: none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-ray", action="store_true")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="marketlens-bench-")))
        server = stack.enter_context(milvus_server(folder / "server"))
        ways = [way for way in WAYS if server or not way.endswith("server")]
        ways = [way for way in ways if not (arguments.without_ray and way.startswith("d"))]
        for name, side, count in (("as they are", None, arguments.photos), ("1600 px", 1600, arguments.large)):
            if count:
                export = first_rows(open_export(arguments.export), count, folder / f"photos-{name}", side)
                jobs = [Job(way, str(export), str(arguments.model), _uri(way, folder, server)) for way in ways]
                show(f"{count} photos, {name}", turns(jobs, arguments.rounds))


def turns(jobs: Sequence[Job], count: int) -> dict[str, list[Result]]:
    """Every job so many times, taking turns."""
    named = {job.way: job for job in jobs}
    results: dict[str, list[Result]] = {way: [] for way in named}
    for way in track(rounds(list(named), count), "Measuring", console=console):
        results[way].append(measure(named[way]))
    return results


def measure(job: Job) -> Result:
    """One job, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.workers.ingest_worker", job.to_json()]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Result(**json.loads(answer.stdout.splitlines()[-1]))


def show(title: str, results: dict[str, list[Result]]) -> None:
    """Medians with their spread, and ratios to the plain way and to the ceiling within each round."""
    speeds = {way: figure(one.photos / one.seconds for one in runs) for way, runs in results.items()}
    rows = [
        (way, speed, ratio(speed, speeds["a plain"]), ratio(speed, speeds["b engine"]), _peak(results[way]))
        for way, speed in speeds.items()
    ]
    plot = Plot(f"Ingest: {title}", "", "photos/s", {"photos/s": list(speeds.items())})
    publish(Table(title, ("way", "photos/s", "x (a)", "x (b)", "peak MB"), rows, plots=[plot]))


def _peak(runs: Sequence[Result]) -> Figure:
    return figure(one.peak_mb for one in runs)


def _uri(way: str, folder: Path, server: str) -> str:
    return server if way.endswith("server") else str(folder / "milvus.db")


if __name__ == "__main__":
    main()

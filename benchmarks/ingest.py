"""Ingest compared with a plain script and the engine alone, on the same photos in one run: photos/s, ratios, memory.

    .venv/bin/python -m benchmarks.ingest ../shared/listings [--photos 600] [--large 300] [--rounds 3] [--without-ray]

(a) plain:   PIL, one photo at a time, eager torch in its default layout: a typical first script
(b) engine:  the embedder alone, on pixels already in memory: the upper bound
(c) ingest:  `marketlens ingest` into an empty store, reading, decoding and writing included: Milvus Lite, a server
(d) Ray:     the same with `--engine ray`, on a cluster on this machine, into the server

The methods take turns, each in its own process. Photos/s exclude the start of Python and the loading of the model, but
for (d) include the start of the cluster and its actors, which dominates with a few hundred photos. Peak memory is that
of the process, including Milvus Lite; for (d) that of the driver.
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

METHODS = ("a plain", "b engine", "c ingest, Lite", "c ingest, server", "d Ray, server")

console = Console(stderr=True)


def main() -> None:
    """Measure each method in turn, several times, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export")
    parser.add_argument("--model", type=Path, default=shipped_model())
    parser.add_argument("--photos", type=int, default=600, help="photos in their original size; 0: none")
    parser.add_argument("--large", type=int, default=300, help="photos scaled to 1600 px; 0: none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-ray", action="store_true")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="marketlens-bench-")))
        server = stack.enter_context(milvus_server(folder / "server"))
        methods = [method for method in METHODS if server or not method.endswith("server")]
        methods = [method for method in methods if not (arguments.without_ray and method.startswith("d"))]
        for name, side, count in (("as they are", None, arguments.photos), ("1600 px", 1600, arguments.large)):
            if count:
                export = first_rows(open_export(arguments.export), count, folder / f"photos-{name}", side)
                model = str(arguments.model)
                jobs = [Job(method, str(export), model, _uri(method, folder, server)) for method in methods]
                show(f"{count} photos, {name}", run_in_turns(jobs, arguments.rounds))


def run_in_turns(jobs: Sequence[Job], count: int) -> dict[str, list[Result]]:
    """Run every job `count` times, in turns."""
    by_method = {job.method: job for job in jobs}
    results: dict[str, list[Result]] = {method: [] for method in by_method}
    for method in track(rounds(list(by_method), count), "Measuring", console=console):
        results[method].append(measure(by_method[method]))
    return results


def measure(job: Job) -> Result:
    """Run one job in its own process."""
    command = [sys.executable, "-m", "benchmarks.workers.ingest_worker", job.to_json()]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Result(**json.loads(answer.stdout.splitlines()[-1]))


def show(title: str, results: dict[str, list[Result]]) -> None:
    """Publish medians with their spread, and ratios to the plain script and the engine within each round."""
    speeds = {method: figure(run.photos / run.seconds for run in runs) for method, runs in results.items()}
    rows = [
        (method, speed, ratio(speed, speeds["a plain"]), ratio(speed, speeds["b engine"]), _peak(results[method]))
        for method, speed in speeds.items()
    ]
    plot = Plot(f"Ingest: {title}", "", "photos/s", {"photos/s": list(speeds.items())})
    publish(Table(title, ("method", "photos/s", "x (a)", "x (b)", "peak MB"), rows, plots=[plot]))


def _peak(runs: Sequence[Result]) -> Figure:
    return figure(run.peak_mb for run in runs)


def _uri(method: str, folder: Path, server: str) -> str:
    return server if method.endswith("server") else str(folder / "milvus.db")


if __name__ == "__main__":
    main()

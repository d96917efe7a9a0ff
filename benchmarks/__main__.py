"""Run every benchmark in turn, then write docs/benchmarks.md from the results: `make bench`.

    .venv/bin/python -m benchmarks [--quick] [NAME ...]

Each benchmark runs in its own process. Results are stored in docs/benchmarks/NAME.json; the document shows the last run
of each. A benchmark that fails is marked as failed in the document, and the command exits with 1.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks.report import document
from benchmarks.report.results import RESULTS, read_tables

LISTINGS = Path("../shared/listings")


@dataclass(frozen=True)
class Benchmark:
    """A module and its arguments; `{listings}` is replaced by the path of the real export."""

    name: str
    quick: str
    full: str

    @property
    def needs_listings(self) -> bool:
        """Whether the benchmark cannot run without the real export."""
        return "{listings}" in self.full and self.name != "peers"


BENCHMARKS = (
    Benchmark(
        "ingest",
        "{listings} --photos 20 --large 0 --rounds 2 --without-ray",
        "{listings} --photos 300 --large 150 --rounds 3",
    ),
    Benchmark("startup", "{listings} --photos 10 --rounds 2", "{listings} --photos 40 --rounds 5"),
    Benchmark("api", "{listings} --catalogue 100 --photos 24", "{listings} --photos 200"),
    Benchmark(
        "search",
        "--photos 10000 --index IVF_FLAT --passing 100 1 --clients 4 --seconds 0.3",
        "--photos 10000 100000 --seconds 1",
    ),
    Benchmark(
        "peers",
        "{listings} --embed 24 --photos 3000 --rounds 2 --seconds 0.3",
        "{listings} --photos 10000 100000",
    ),
    Benchmark(
        "growth",
        "--photos 1000 3000 --stores lite --rounds 1 --map 1000",
        "--photos 1000 10000 100000 1000000",
    ),
    Benchmark("insights", "--photos 10000 --map 1000 --rounds 2", "--photos 10000 100000 200000"),
    Benchmark("insights_accuracy", "{listings} --listings 100 --draws 3 --edited 8", "{listings}"),
    Benchmark("server_size", "--rows 5000 --index IVF_FLAT --quiet 2 --rounds 1", "--rows 30000 60000 --rounds 3"),
    Benchmark("backup", "--rows 3000 --store lite --rounds 2", "--rows 20000 100000 --rounds 3"),
    Benchmark("scaling", "", ""),
)


def main() -> None:
    """Run the benchmarks, then write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(benchmark.name for benchmark in BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="small sizes: under ten minutes in total")
    parser.add_argument("--listings", type=Path, default=LISTINGS, help="path of the real export")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {benchmark.name for benchmark in BENCHMARKS}:
        parser.error(f"unknown benchmark: {', '.join(sorted(unknown))}")
    failed = []
    for benchmark in BENCHMARKS:
        if not arguments.names or benchmark.name in arguments.names:
            section = run(benchmark, quick=arguments.quick, listings=arguments.listings)
            document.keep(section)
            if section.problem:
                failed.append(benchmark.name)
                print(f"{benchmark.name}: {section.problem}", file=sys.stderr)
    print(f"Written: {document.write([benchmark.name for benchmark in BENCHMARKS])}")
    sys.exit(1 if failed else 0)


def run(benchmark: Benchmark, *, quick: bool, listings: Path) -> document.Section:
    """Run one benchmark; return its tables, seconds and memory, and how busy other processes kept the machine."""
    arguments = benchmark.quick if quick else benchmark.full
    available = listings.is_dir()
    words = [
        str(listings) if word == "{listings}" else word
        for word in shlex.split(arguments)
        if available or word != "{listings}"
    ]
    command = shlex.join(["python", "-m", f"benchmarks.{benchmark.name}", *words])
    section = document.Section(benchmark.name, command, datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))
    if benchmark.needs_listings and not available:
        section.problem = f"not run: it needs {listings}, a real export that is not part of the repository"
        return section
    print(f"== {command}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "tables.jsonl"
        results.touch()
        others = OtherWork()
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{benchmark.name}", *words], env=os.environ | {RESULTS: str(results)}
        )
        # The usage includes the children that the benchmark has waited for.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        section.seconds = time.monotonic() - started
        section.worked = usage.ru_utime + usage.ru_stime
        section.others = others.share(section.worked, section.seconds)
        section.peak_mb = usage.ru_maxrss / 1024  # Linux: in kilobytes
        section.tables = read_tables(results)
    if process.returncode:
        section.problem = f"exited with {process.returncode}; the results up to then are below"
    return section


class OtherWork:
    """Measures how much processor time other processes use."""

    def __init__(self) -> None:
        self._busy = _busy()

    def share(self, own: float, seconds: float) -> float:
        """Return the part of all cores, 0 to 1, that others used, including other machines on the same host."""
        rest = _busy() - self._busy - own
        return min(1.0, max(0.0, rest / (seconds * (os.cpu_count() or 1))))


def _busy() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - times.guest - times.guest_nice)


if __name__ == "__main__":
    main()

"""Every benchmark, one after the other, and docs/benchmarks.md out of what they found: `make bench`.

    .venv/bin/python -m benchmarks [--quick] [NAME ...]

Each runs in a process of its own. What it found is kept in docs/benchmarks/NAME.json; the document shows the last run
of each. One that fails is in the document as such, and the command ends with 1.
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
    """A module, and its arguments. `{listings}` stands for the real export."""

    name: str
    quick: str
    full: str

    @property
    def needs_listings(self) -> bool:
        """Whether there is nothing to measure without the real export."""
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
    """Run them, then write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(one.name for one in BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="small sizes, meant to take under ten minutes in all")
    parser.add_argument("--listings", type=Path, default=LISTINGS, help="the real export")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {one.name for one in BENCHMARKS}:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    failed = []
    for one in BENCHMARKS:
        if not arguments.names or one.name in arguments.names:
            section = run(one, quick=arguments.quick, listings=arguments.listings)
            document.keep(section)
            if section.problem:
                failed.append(one.name)
                print(f"{one.name}: {section.problem}", file=sys.stderr)
    print(f"Written: {document.write([one.name for one in BENCHMARKS])}")
    sys.exit(1 if failed else 0)


def run(one: Benchmark, *, quick: bool, listings: Path) -> document.Section:
    """Run one and keep what it said of itself: tables, seconds, memory, and how busy others kept the machine."""
    wanted = one.quick if quick else one.full
    here = listings.is_dir()
    words = [
        str(listings) if word == "{listings}" else word for word in shlex.split(wanted) if here or word != "{listings}"
    ]
    shown = shlex.join(["python", "-m", f"benchmarks.{one.name}", *words])
    section = document.Section(one.name, shown, datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))
    if one.needs_listings and not here:
        section.problem = f"not run: it needs {listings}, a real export that is not part of the repository"
        return section
    print(f"== {shown}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "tables.jsonl"
        results.touch()
        others = OtherWork()
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{one.name}", *words], env=os.environ | {RESULTS: str(results)}
        )
        # Its own children count, as far as it has waited for them.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        section.seconds = time.monotonic() - started
        section.worked = usage.ru_utime + usage.ru_stime
        section.others = others.share(section.worked, section.seconds)
        section.peak_mb = usage.ru_maxrss / 1024  # Linux: in kilobytes
        section.tables = read_tables(results)
    if process.returncode:
        section.problem = f"ended with {process.returncode}; what it had found until then is below"
    return section


class OtherWork:
    """How much of the processors others used meanwhile."""

    def __init__(self) -> None:
        self._busy = _busy()

    def share(self, own: float, seconds: float) -> float:
        """Part of all cores, 0 to 1, that worked for anybody else, other machines on the same host included."""
        rest = _busy() - self._busy - own
        return min(1.0, max(0.0, rest / (seconds * (os.cpu_count() or 1))))


def _busy() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - times.guest - times.guest_nice)


if __name__ == "__main__":
    main()

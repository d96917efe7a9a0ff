"""Start-up time of `marketlens --help`, `search`, `ingest` and `serve`, as ratios to a bare Python.

    .venv/bin/python -m benchmarks.startup EXPORT [--photos 40] [--rounds 5] [--before OTHER/.venv/bin/marketlens]

Each command runs in its own process, on a catalogue filled beforehand: a search by photo, an ingest of an unchanged
export, a service until `/readyz` answers. With `--before`, the commands of another installation take turns with ours,
each on its own catalogue, and the table shows how many times as long they took.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.report.results import Figure, Table, figure, publish, ratio
from benchmarks.support.sample_exports import first_rows
from catalog.exports.export import open_export
from tests.support.servers.milvus_server import free_ports

OURS = Path(sys.executable).with_name("marketlens")
READY_SECONDS = 300


def main() -> None:
    """Measure all commands of all installations in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export")
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", type=Path, help="the command marketlens of another installation")
    arguments = parser.parse_args()
    commands = {"now": OURS} | ({"before": arguments.before.absolute()} if arguments.before else {})
    with tempfile.TemporaryDirectory() as folder:
        manifest = first_rows(open_export(arguments.export), arguments.photos, Path(folder) / "photos", None)
        photo = next(manifest.parent.glob("*.jpg"))
        installations = {
            name: Installation(command, Path(folder) / name, manifest, photo) for name, command in commands.items()
        }
        taken: dict[tuple[str, str], list[float]] = {}
        bare: list[float] = []
        # The first round is a warm-up: it reads the files from disk for the first time.
        for number in range(arguments.rounds + 1):
            for name, installation in installations.items():
                for label, run in installation.runs().items():
                    taken.setdefault((name, label), []).append(run())
            bare.append(seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)))
            print(f"round {number} of {arguments.rounds}", file=sys.stderr)
    measured = {key: figure(values[1:]) for key, values in taken.items()}
    publish(table(measured, figure(bare[1:]), arguments.photos))


class Installation:
    """One installation's command, and its own catalogue, which is filled here."""

    def __init__(self, command: Path, folder: Path, manifest: Path, photo: Path) -> None:
        folder.mkdir()
        self._command, self._folder, self._manifest, self._photo = command, folder, manifest, photo
        self._environment = os.environ | {"MARKETLENS_MODEL__PATH": str(model_of(command)), "COLUMNS": "200"}
        self._run("ingest", manifest)

    def runs(self) -> dict[str, Callable[[], float]]:
        """Return for each command name a function that runs the command and returns its seconds."""
        return {
            "--help": lambda: seconds(lambda: self._run("--help")),
            "search PHOTO": lambda: seconds(lambda: self._run("search", self._photo)),
            "ingest, nothing new": lambda: seconds(lambda: self._run("ingest", self._manifest)),
            "serve until ready": self._serve,
        }

    def _run(self, *words: object) -> None:
        done = subprocess.run(
            [self._command, *map(str, words)],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _serve(self) -> float:
        port = free_ports(1)[0]
        log = (self._folder / "serve.log").open("w")
        started = time.perf_counter()
        process = subprocess.Popen(
            [self._command, "serve", "--port", str(port)],
            cwd=self._folder,
            env=self._environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            while not is_ready(f"http://127.0.0.1:{port}/readyz"):
                assert process.poll() is None, (self._folder / "serve.log").read_text()
                assert time.perf_counter() - started < READY_SECONDS
                time.sleep(0.02)
            return time.perf_counter() - started
        finally:
            process.terminate()
            process.wait()
            log.close()


def model_of(command: Path) -> Path:
    """Return the shipped model of that installation; version 0.1.0 searched for it below the working folder."""
    code = "import catalog, pathlib; print(pathlib.Path(catalog.__file__).parents[1])"
    python = command.with_name("python")
    root = Path(
        subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd="/").stdout.strip()
    )
    folders = (root / "models" / "marketlens-resnet50", root / "catalog" / "models" / "marketlens-resnet50")
    return next(folder for folder in folders if folder.exists())


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def is_ready(url: str) -> bool:
    """Return whether the service is ready."""
    try:
        with urlopen(url, timeout=5):  # noqa: S310 - our own http address
            return True
    except (URLError, OSError):
        return False


def table(measured: dict[tuple[str, str], Figure], bare: Figure, photos: int) -> Table:
    """Build the table, a row per command."""
    compared = any(name == "before" for name, _ in measured)
    rows = []
    for name, label in measured:
        if name == "now":
            now = measured["now", label]
            before = [measured["before", label], ratio(measured["before", label], now)] if compared else []
            rows.append([label, now, ratio(now, bare), *before])
    columns = ["command", "seconds", "x a bare Python", *(["seconds before", "before / now"] if compared else [])]
    note = f"From the start of the process; a catalogue of {photos} photos in Milvus Lite; warm page cache."
    return Table("Start-up", columns, rows, note)


if __name__ == "__main__":
    main()

"""Seconds, bytes and memory of a backup and its restore, on Milvus Lite and on a dedicated server. Linux only.

    .venv/bin/python -m benchmarks.backup [--rows 20000 100000] [--dim 512] [--store lite server] [--rounds 3]

Rows are synthetic unit vectors with records about as long as real ones; there is no model and no other file. Each step
runs in its own process. Memory and CPU seconds (imports included) are those of this process, including Milvus Lite. The
figures are in docs/backup.md.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np

from benchmarks.report.results import Table, figure, publish, ratio
from benchmarks.server_size import CHUNK, record
from catalog.memory import peak_bytes
from catalog.progress import silent
from catalog.settings import MilvusSettings, Settings
from catalog.store.collection import PhotoCollection
from marketlens.backup.manifest import check_files, read_manifest
from marketlens.backup.restore import restore
from marketlens.backup.writer import make_backup
from tests.support.data.backups import settings_of
from tests.support.data.models import fake_card
from tests.support.servers.milvus_server import running_server

FINGERPRINT = "ab" * 32


def main() -> None:
    """Measure every store at every size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--store", nargs="+", choices=["lite", "server"], default=["lite", "server"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--step", nargs=4, help=argparse.SUPPRESS)  # for the subprocess: step, uri, folder, rows
    arguments = parser.parse_args()
    if arguments.step:
        step, uri, folder, rows = arguments.step
        run(step, step_settings(Path(folder), uri, step), Path(folder), int(rows), arguments.dim)
        return
    cells = []
    for store in arguments.store:
        for rows in arguments.rows:
            runs = [measure(store, rows, arguments.dim) for _ in range(arguments.rounds)]
            for step in ("fill", "backup", "restore"):
                seconds, cpu, size, peak = (figure(values) for values in zip(*(run[step] for run in runs), strict=True))
                times_fill = ratio(seconds, figure(run["fill"][0] for run in runs))
                cells.append([store, f"{rows:,}", step, seconds, times_fill, cpu, size, peak])
    columns = ("store", "photos", "step", "seconds", "x fill", "CPU seconds", "MB of files", "peak MB")
    note = "Fill: the same rows written without a backup. Peak: memory of this process, which includes Milvus Lite."
    publish(Table(f"Backups, {arguments.dim} dimensions", columns, cells, note))


def measure(store: str, rows: int, dim: int) -> dict[str, tuple[float, float, float, float]]:
    """Return for each step: seconds, CPU seconds of its process, MB of the backup, MB of memory at the peak."""
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        server = running_server(Path(folder)) if store == "server" else nullcontext("")
        with server as uri:
            for step in ("fill", "backup", "restore"):
                command = [sys.executable, "-m", "benchmarks.backup", "--dim", str(dim), "--step", step]
                done = subprocess.run([*command, uri, folder, str(rows)], stdout=subprocess.PIPE, check=True)
                result = json.loads(done.stdout.splitlines()[-1])
                size = on_disk(Path(folder, "backup"))
                measured[step] = (result["seconds"], result["cpu"], size / 1e6, result["peak"] / 1e6)
    return measured


def step_settings(folder: Path, uri: str, step: str) -> Settings:
    """Return the settings of a step: a restore goes into another database file, or under another alias."""
    name = "target" if step == "restore" else "source"
    milvus = MilvusSettings(uri=uri or str(folder / f"{name}.db"), alias=name, timeout=60)
    return settings_of(folder / name, milvus)


def run(step: str, settings: Settings, folder: Path, rows: int, dim: int) -> None:
    """Run one step; print its seconds, CPU seconds and peak memory as JSON."""
    started = time.monotonic()
    with closing(PhotoCollection.connect(settings.milvus, settings.index, consistency="Session")) as photos:
        if step == "fill":
            fill(photos, settings, rows, dim)
        elif step == "backup":
            make_backup(photos, settings, folder / "backup", silent)
        else:
            manifest = read_manifest(folder / "backup")
            check_files(folder / "backup", manifest, lambda _: None)
            restore(folder / "backup", manifest, photos, settings, silent, print, replace=False)
        seconds = time.monotonic() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage.ru_utime + usage.ru_stime
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak_bytes()}))


def fill(photos: PhotoCollection, settings: Settings, rows: int, dim: int) -> None:
    """Write a catalogue of `rows` photos, and a model card for it."""
    photos.ensure(FINGERPRINT, dim)
    random = np.random.default_rng(0)
    for start in range(0, rows, CHUNK):
        vectors = random.normal(size=(CHUNK, dim)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        photos.writer.upsert([record(start + number) for number in range(CHUNK)], vectors)
    photos.writer.flush()
    photos.notes.end_changes()
    settings.model.path.mkdir(parents=True)
    (settings.model.path / "model.json").write_text(fake_card(FINGERPRINT).model_dump_json())


def on_disk(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()

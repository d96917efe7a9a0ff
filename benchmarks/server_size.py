"""What photos cost on a Milvus server of one's own: RAM while they are loaded, bytes on its disk. Linux.

    .venv/bin/python -m benchmarks.server_size [--rows 20000 40000] [--dim 512] [--index IVF_FLAT HNSW]

For each index a fresh server (the PyPI package `milvus`), synthetic unit vectors, records about as long as real ones.
RAM is the difference that loading makes to the resident memory of a server that has just been started again, all rows
indexed before; disk what its folder has grown by, superseded files included, which Milvus deletes hours later. The
figures are in docs/scaling.md.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from pymilvus import MilvusClient
from rich.console import Console
from rich.table import Table

from catalog.collection import PhotoCollection
from catalog.listing import Listing, Photo, StoredPhoto
from catalog.settings import IndexSettings, MilvusSettings
from tests.milvus_server import running_server

CHUNK = 1_000
QUIET_SECONDS = 20.0


def main() -> None:
    """Measure every index at every size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 40_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--index", nargs="+", default=["IVF_FLAT", "IVF_SQ8", "HNSW"])
    arguments = parser.parse_args()
    table = Table(title=f"{arguments.dim} dimensions")
    for heading in ("index", "rows", "RAM, MB", "bytes a row", "disk, MB", "bytes a row", "seconds"):
        table.add_column(heading, justify="right")
    for index in arguments.index:
        for rows, ram, disk, seconds in sizes(index, sorted(arguments.rows), arguments.dim):
            figures = f"{ram / 1e6:,.0f}", f"{ram / rows:,.0f}", f"{disk / 1e6:,.0f}", f"{disk / rows:,.0f}"
            table.add_row(index, f"{rows:,}", *figures, f"{seconds:.0f}")
    Console().print(table)


def sizes(index: str, rows: list[int], dim: int) -> Iterator[tuple[int, int, int, float]]:
    """Rows, bytes of RAM and of disk that they take, and seconds since the last size, at each of these sizes."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        written, empty = 0, 0
        for size in rows:
            started = time.monotonic()
            with running_server(Path(folder)) as uri:
                empty = empty or on_disk(folder)
                photos = connected(uri, index)
                name = photos.ensure("ab" * 32, dim).name
                while written < size:
                    vectors = random.normal(size=(CHUNK, dim)).astype(np.float32)
                    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
                    photos.upsert([record(written + n) for n in range(CHUNK)], vectors)
                    written += CHUNK
                photos.flush()
                photos.builds.finish(name)
                seconds = time.monotonic() - started
                time.sleep(QUIET_SECONDS)  # compaction
                MilvusClient(uri).release_collection(name)
                photos.close()
            with running_server(Path(folder)) as uri:
                time.sleep(QUIET_SECONDS)
                before = in_ram(folder)
                MilvusClient(uri).load_collection(name)
                time.sleep(QUIET_SECONDS)
                yield size, in_ram(folder) - before, on_disk(folder) - empty, seconds


def connected(uri: str, index: str) -> PhotoCollection:
    """The collection on this server."""
    return PhotoCollection.connect(MilvusSettings(uri=uri, timeout=60), IndexSettings(type=index, nlist=128))


def record(number: int) -> StoredPhoto:
    """300 bytes; those of shared/listings have 358."""
    name = f"{number:08d}-5d7c-4b9e-9a57-000000000000"
    listing = Listing(
        name, "Two seater sofa in very good condition", "Home & Garden", "Other / Things", 30.0, "GBP", "York"
    )
    return StoredPhoto(
        Photo(name, listing, f"/exports/tonight/images/{name}.jpg"), "0" * 64, 1_700_000_000, "12345:1700000000"
    )


def in_ram(folder: str) -> int:
    """Resident bytes of the server that keeps its data here."""
    servers = [one for one in psutil.process_iter(["cmdline"]) if folder in " ".join(one.info["cmdline"] or [])]
    return sum(one.memory_info().rss for one in servers if one.name() == "milvus")


def on_disk(folder: str) -> int:
    """Bytes of its data: logs of inserts, index files, the message queue."""
    return sum(file.stat().st_size for file in Path(folder, "data", "data").rglob("*") if file.is_file())


if __name__ == "__main__":
    main()

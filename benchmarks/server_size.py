"""Size of photos on a dedicated Milvus server: RAM while they are loaded, and bytes on disk. Linux only.

    .venv/bin/python -m benchmarks.server_size [--rows 20000 40000] [--dim 512] [--index IVF_FLAT HNSW] [--rounds 1]
        [--quiet 20]

Each index gets a fresh server (the PyPI package `milvus`), synthetic unit vectors, and records about as long as real
ones. RAM is the growth of resident memory when a restarted server loads rows that are already indexed. Disk is the
growth of its folder, including superseded files, which Milvus deletes hours later. Both are compared with FAISS' layout
of the same vectors plus 300 bytes per record: benchmarks/scaling.py.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pymilvus import MilvusClient

from benchmarks.report.results import Cell, Table, figure, publish, ratio
from benchmarks.scaling import Embedding
from benchmarks.support.milvus_servers import in_ram, milvus_server, on_disk
from catalog.listing import Listing, Photo, StoredPhoto
from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection

CHUNK = 1_000
RECORD_BYTES = 300
COLUMNS = ("index", "rows", "RAM, MB", "x computed", "disk, MB", "x computed", "seconds")

Sizes = tuple[float, float, float]


def main() -> None:
    """Measure every index at every size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 40_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--index", nargs="+", default=["IVF_FLAT", "IVF_SQ8", "HNSW"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--quiet", type=float, default=20.0, help="seconds to wait for compaction and loading")
    arguments = parser.parse_args()
    runs: dict[tuple[str, int], list[Sizes]] = {}
    for _ in range(arguments.rounds):
        for index in arguments.index:
            for rows, *measured in sizes(index, sorted(arguments.rows), arguments.dim, arguments.quiet):
                runs.setdefault((index, rows), []).append((measured[0], measured[1], measured[2]))
    if runs:
        publish(Table(f"{arguments.dim} dimensions", COLUMNS, [row(*key, arguments.dim, runs[key]) for key in runs]))


def row(index: str, rows: int, dim: int, runs: list[Sizes]) -> list[Cell]:
    """Return the row of one index at one size."""
    computed_bytes = rows * (Embedding(dim).bytes(index) + RECORD_BYTES)
    ram, disk, seconds = (figure(values) for values in zip(*runs, strict=True))
    computed = figure([computed_bytes] * len(runs))
    megabyte = figure([1e6] * len(runs))
    return [
        index,
        f"{rows:,}",
        ratio(ram, megabyte),
        ratio(ram, computed),
        ratio(disk, megabyte),
        ratio(disk, computed),
        seconds,
    ]


def sizes(index: str, rows: list[int], dim: int, quiet: float) -> Iterator[tuple[int, float, float, float]]:
    """Yield for each size: rows, their bytes of RAM and of disk, and the seconds since the previous size."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        data, written, empty = Path(folder, "data", "data"), 0, 0
        for size in rows:
            started = time.monotonic()
            with milvus_server(Path(folder)) as uri:
                if not uri:
                    return
                empty = empty or on_disk(data)
                photos = connect(uri, index)
                name = photos.ensure("ab" * 32, dim).name
                while written < size:
                    vectors = random.normal(size=(CHUNK, dim)).astype(np.float32)
                    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
                    photos.writer.upsert([record(written + n) for n in range(CHUNK)], vectors)
                    written += CHUNK
                photos.writer.flush()
                photos.builds.finish(name)
                seconds = time.monotonic() - started
                time.sleep(quiet)  # compaction
                MilvusClient(uri).release_collection(name)
                photos.close()
            with milvus_server(Path(folder)) as uri:
                time.sleep(quiet)
                before = in_ram(Path(folder))
                MilvusClient(uri).load_collection(name)
                time.sleep(quiet)
                yield size, in_ram(Path(folder)) - before, on_disk(data) - empty, seconds


def connect(uri: str, index: str) -> PhotoCollection:
    """Connect to the collection on this server."""
    return PhotoCollection.connect(MilvusSettings(uri=uri, timeout=60), IndexSettings(type=index, nlist=128))


def record(number: int) -> StoredPhoto:
    """Return a record of 300 bytes; those of shared/listings have 358 on average."""
    name = f"{number:08d}-5d7c-4b9e-9a57-000000000000"
    listing = Listing(
        name, "Two seater sofa in very good condition", "Home & Garden", "Other / Things", 30.0, "GBP", "York"
    )
    return StoredPhoto(
        Photo(name, listing, f"/exports/tonight/images/{name}.jpg"), "0" * 64, 1_700_000_000, "12345:1700000000"
    )


if __name__ == "__main__":
    main()

"""What photos cost on a Milvus server of one's own: RAM while they are loaded, bytes on its disk. Linux.

    .venv/bin/python -m benchmarks.server_size [--rows 20000 40000] [--dim 512] [--index IVF_FLAT HNSW] [--rounds 1]
        [--quiet 20]

For each index a fresh server (the PyPI package `milvus`), synthetic unit vectors, records about as long as real ones.
RAM is the difference that loading makes to the resident memory of a server that has just been started again, all rows
indexed before; disk what its folder has grown by, superseded files included, which Milvus deletes hours later. Both are
compared with FAISS' layout of the same vectors and the records' 300 bytes: benchmarks/scaling.py.
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
RECORD = 300
COLUMNS = ("index", "rows", "RAM, MB", "x computed", "disk, MB", "x computed", "seconds")

Sizes = tuple[float, float, float]


def main() -> None:
    """Measure every index at every size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 40_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--index", nargs="+", default=["IVF_FLAT", "IVF_SQ8", "HNSW"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--quiet", type=float, default=20.0, help="seconds that compaction and loading may take")
    arguments = parser.parse_args()
    found: dict[tuple[str, int], list[Sizes]] = {}
    for _ in range(arguments.rounds):
        for index in arguments.index:
            for rows, *measured in sizes(index, sorted(arguments.rows), arguments.dim, arguments.quiet):
                found.setdefault((index, rows), []).append((measured[0], measured[1], measured[2]))
    if found:
        publish(Table(f"{arguments.dim} dimensions", COLUMNS, [row(*key, arguments.dim, found[key]) for key in found]))


def row(index: str, rows: int, dim: int, runs: list[Sizes]) -> list[Cell]:
    """One index at one size."""
    computed = rows * (Embedding(dim).bytes(index) + RECORD)
    ram, disk, seconds = (figure(values) for values in zip(*runs, strict=True))
    by = figure([computed] * len(runs))
    million = figure([1e6] * len(runs))
    return [index, f"{rows:,}", ratio(ram, million), ratio(ram, by), ratio(disk, million), ratio(disk, by), seconds]


def sizes(index: str, rows: list[int], dim: int, quiet: float) -> Iterator[tuple[int, float, float, float]]:
    """Rows, bytes of RAM and of disk that they take, and seconds since the last size, at each of these sizes."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        data, written, empty = Path(folder, "data", "data"), 0, 0
        for size in rows:
            started = time.monotonic()
            with milvus_server(Path(folder)) as uri:
                if not uri:
                    return
                empty = empty or on_disk(data)
                photos = connected(uri, index)
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


if __name__ == "__main__":
    main()

"""Memory, disk, machines and hours for 1 M, 100 M and 1 B photos, computed from measured figures for docs/scaling.md.

    .venv/bin/python -m benchmarks.scaling [--dim 512] [--machines 20] [--photo-kb 6.4]

When a figure in this module is measured again, change it here and copy the output into the document.
"""

import argparse
import math
from dataclasses import dataclass

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

SIZES = (1_000_000, 100_000_000, 1_000_000_000)

# Measured, see docs/scaling.md.
RECORD_BYTES = 358  # fields of a record without its embedding, mean of shared/listings
DECODES_192 = 870.0  # photos/s per core, 192 px
DECODES_1600 = 107.0  # the same, 1600 x 1200
CPU_FP32 = 12.5  # photos/s per core, ONNX Runtime
CPU_INT8 = 41.0
ON_DISK = 2.3  # times the inserted data and its index: compaction supersedes files, which are deleted later
ROWS = 15_000.0  # rows/s that one process reads from a table

# Assumed.
GPU = 2_000.0  # photos/s per GPU, ResNet50, 224 px, bf16
NODE_BYTES = 64e9
MEMORY_SHARE = 0.7  # usable part of a machine's memory


@dataclass(frozen=True)
class Embedding:
    """Size of a photo's embedding in an index, by FAISS' layouts: dim numbers, and an id of 8 bytes."""

    dim: int
    pq_m: int = 64
    hnsw_m: int = 16

    def bytes(self, index: str) -> float:
        """Return the bytes per photo; `index` is the type's name in the settings."""
        return {
            "IVF_FLAT": 4 * self.dim + 8,
            "IVF_SQ8": self.dim + 8,
            "IVF_PQ": self.pq_m + 8,
            # 2 M neighbours of 4 bytes on the lowest level, M on each higher level, which one photo in M reaches.
            "HNSW": 4 * self.dim + 4 * self.hnsw_m * (2 + 1 / (self.hnsw_m - 1)),
        }[index]


def memory(photos: int, index: str, embedding: Embedding) -> float:
    """Return the bytes of RAM on all query nodes for one replica: index and records."""
    return photos * (embedding.bytes(index) + RECORD_BYTES)


def disk(photos: int, index: str, embedding: Embedding) -> float:
    """Return the bytes in the object store: embeddings, records and index, including superseded files."""
    inserted = photos * (4 * embedding.dim + RECORD_BYTES)
    return ON_DISK * (inserted + photos * embedding.bytes(index))


def nodes(total: float) -> int:
    """Return the number of query nodes for `total` bytes."""
    return math.ceil(total / (NODE_BYTES * MEMORY_SHARE))


def hours(photos: int, per_second: float) -> float:
    """Return the hours that the photos take."""
    return photos / per_second / 3600


def cores(per_second: float, decodes: float) -> float:
    """Return the number of cores that decode for a network of this speed."""
    return per_second / decodes


def milvus_table(embedding: Embedding) -> Table:
    """Build the table of Milvus' memory and disk for one replica."""
    table = markdown("photos", "index", "bytes per photo", "RAM", "nodes of 64 GB", "disk")
    for photos in SIZES:
        for index in ("IVF_FLAT", "HNSW", "IVF_SQ8", "IVF_PQ"):
            total = memory(photos, index, embedding)
            per_photo, files = f"{embedding.bytes(index) + RECORD_BYTES:,.0f}", disk(photos, index, embedding)
            table.add_row(f"{photos:,}", index, per_photo, size(total), f"{nodes(total):,}", size(files))
    return table


def embedding_table(machines: int) -> Table:
    """Build the table of embedding times, in hours."""
    headings = (f"hours for {photos:,}" for photos in SIZES)
    table = markdown("hardware", "photos/s", *headings, "cores to decode 192 / 1600 px")
    cpus = 16 * machines
    for hardware, rate in {
        "2 cores, fp32": 2 * CPU_FP32,
        "2 cores, int8": 2 * CPU_INT8,
        f"{machines} machines of 16 cores, fp32": cpus * CPU_FP32,
        f"{machines} machines of 16 cores, int8": cpus * CPU_INT8,
        "1 GPU (assumed)": GPU,
        "8 GPUs (assumed)": 8 * GPU,
    }.items():
        decoding = f"{cores(rate, DECODES_192):,.1f} / {cores(rate, DECODES_1600):,.1f}"
        table.add_row(hardware, f"{rate:,.0f}", *(f"{hours(photos, rate):,.2f}" for photos in SIZES), decoding)
    return table


def export_table(photo_kb: float) -> Table:
    """Build the table of file sizes and reading times of an export."""
    table = markdown("photos", "files", "hours to read the rows")
    for photos in SIZES:
        table.add_row(f"{photos:,}", size(photos * photo_kb * 1e3), f"{hours(photos, ROWS):,.2f}")
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--machines", type=int, default=20, help="of 16 cores each")
    parser.add_argument("--photo-kb", type=float, default=6.4)
    arguments = parser.parse_args()
    show(Console(width=160), arguments.dim, arguments.machines, arguments.photo_kb)


def show(console: Console, dim: int = 512, machines: int = 20, photo_kb: float = 6.4) -> None:
    """Print the tables in Markdown."""
    for table in (milvus_table(Embedding(dim)), embedding_table(machines), export_table(photo_kb)):
        console.print(table)


def markdown(*headings: str) -> Table:
    """Return an empty Markdown table."""
    return Table(*headings, box=MARKDOWN)


def size(count: float) -> str:
    """Format bytes as `3.2 TB`."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9)):
        if count >= scale:
            return f"{count / scale:,.1f} {unit}"
    return f"{count / 1e6:,.0f} MB"


if __name__ == "__main__":
    main()

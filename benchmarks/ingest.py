"""Ingest beside the plain way, on the same photos in one run. Prints photos/s and ratios.

    .venv/bin/python -m benchmarks.ingest ../shared/listings [--photos 400] [--model models/marketlens-resnet50]

(a) plain:   PIL, one photo at a time, eager torch in its default layout: what a first script does
(b) engine:  the embedder alone, on pixels that are in memory already: the ceiling
(c) ingest:  `marketlens ingest` end to end into an empty Milvus Lite, reading and writing included
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from catalog.collection import PhotoCollection
from catalog.exports import Export, open_export
from catalog.listing import Photo
from catalog.settings import IndexSettings, IngestSettings, MilvusSettings
from embedding.checkpoint import load_model
from embedding.embedder import Embedder
from embedding.photos import open_photo
from ingest.pipeline import ingest
from ingest.report import Report

ROUNDS = 3


class FirstRows(Export):
    """The first rows of an export."""

    def rows(self):
        """As many rows as were asked for."""
        return islice(super().rows(), self.photos)


def main() -> None:
    """Measure each way several times, taking turns, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--model", type=Path, default=Path("models/marketlens-resnet50"))
    arguments = parser.parse_args()

    whole = open_export(arguments.export)
    export = FirstRows(whole.path, whole.root, min(arguments.photos, whole.photos), whole.source)
    uris = [row.uri for row in export.rows() if isinstance(row, Photo)]
    embedder = Embedder.load(arguments.model)
    network, _ = load_model(arguments.model)
    pixels = np.stack([embedder.preprocess(open_photo(Path(uri).read_bytes())) for uri in uris])
    ways: dict[str, Callable[[], None]] = {
        "(a) plain": lambda: plain(network, uris),
        "(b) engine": lambda: engine(embedder, pixels),
        "(c) ingest": lambda: whole_way(export, embedder),
    }
    engine(embedder, pixels[:64])  # warm
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    show(len(uris), seconds)


def plain(network: torch.nn.Module, uris: list[str]) -> None:
    """One photo at a time."""
    for uri in uris:
        image = Image.open(uri).convert("RGB").resize((224, 224))
        with torch.no_grad():
            network(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).contiguous()[None])


def engine(embedder: Embedder, pixels: np.ndarray) -> None:
    """The network alone."""
    embedder.embed_pixels(pixels)


def whole_way(export: Export, embedder: Embedder) -> None:
    """Read, decode, embed, write."""
    folder = Path(tempfile.mkdtemp(prefix="marketlens-bench-"))
    photos = PhotoCollection.connect(MilvusSettings(uri=str(folder / "milvus.db")), IndexSettings())
    try:
        report = Report(export="")
        ingest(export, embedder, photos, IngestSettings(), report, lambda _: None)
        assert report.written + report.rejected == report.read == sum(1 for _ in export.rows())
    finally:
        photos.close()
        shutil.rmtree(folder)


def show(count: int, seconds: dict[str, list[float]]) -> None:
    """Print medians with their spread, and ratios to the plain way and to the ceiling."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    table = Table(title=f"{count} photos, median of {ROUNDS} rounds, {torch.get_num_threads()} threads")
    for heading in ("way", "photos/s", "lowest", "highest", "x plain", "x engine"):
        table.add_column(heading, justify="right")
    for name, values in seconds.items():
        table.add_row(
            name,
            f"{count / medians[name]:.1f}",
            f"{count / max(values):.1f}",
            f"{count / min(values):.1f}",
            f"{medians['(a) plain'] / medians[name]:.2f}",
            f"{medians['(b) engine'] / medians[name]:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()

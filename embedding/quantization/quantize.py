"""`marketlens model quantize`: a model folder again, its weights at a quarter of their size, or its arithmetic too."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from more_itertools import take
from numpy.typing import NDArray

from catalog.atomic_files import refuse_existing
from catalog.errors import ExportUnreadable
from catalog.exports.export import Export
from catalog.listing import Photo
from catalog.photo_files.hosts import Read
from catalog.progress import Progress
from embedding.card import INT8_ONNX, ModelCard
from embedding.card_text import CARD_TEXT, describe
from embedding.checkpoint import further_files, load_model, load_weights, save_model
from embedding.embedder import Embedder
from embedding.engines.onnx_engine import OnnxEngine
from embedding.engines.onnx_graph import build_graph
from embedding.int8_weights import Weights, quantize
from embedding.photos import open_or_none
from embedding.quantization.int8_arithmetic import to_int8

CALIBRATION = 256
_FEWEST, _READERS = 32, 4


@dataclass(frozen=True, slots=True)
class Agreement:
    """Cosines between what a model made in floats and what it makes in int8, photo by photo."""

    photos: int
    mean: float
    lowest: float


def quantize_model(folder: Path, out: Path) -> ModelCard:
    """Save a model with int8 weights; all else in its folder goes along, but for the int8 graph.

    The fingerprint is a new one, for the embeddings are: a catalogue belongs to one of the two.
    Raises ModelMissing, ModelBroken, OutputFailed.
    """
    weights, card = load_model(folder)
    told = {"name": out.name, "arithmetic": "float", "stored_as": "int8, a scale per output channel"}
    return _save(folder, out, quantize(weights), card.model_copy(update=told), {})


def quantize_arithmetic(
    folder: Path, out: Path, export: Export, *, read: Read, progress: Progress
) -> tuple[ModelCard, Agreement]:
    """Save a model that calculates in int8, calibrated on photos of an export; its weights stay as they are stored.

    How well it agrees with itself in floats is measured on photos that it was not calibrated on. Raises what
    `quantize_model` raises, ExportUnreadable.
    """
    refuse_existing(out)
    weights, card = load_model(folder)
    graph = build_graph(card.architecture, card.transform, weights)
    embedder = Embedder(card, OnnxEngine(graph))
    pixels = _some_photos(export, embedder, read, progress)
    with progress("Calibrating", len(pixels[::2])) as advance:
        int8_onnx = to_int8(graph, pixels[::2], advance)
    card = card.model_copy(update={"name": out.name, "arithmetic": "int8"})
    card = _save(folder, out, load_weights(folder), card, {INT8_ONNX: int8_onnx})
    floats, integers = embedder.embed_pixels(pixels[1::2]), Embedder.load(out).embed_pixels(pixels[1::2])
    cosines = (floats * integers).sum(axis=1)
    return card, Agreement(len(cosines), float(cosines.mean()), float(cosines.min()))


def _save(folder: Path, out: Path, weights: Weights, card: ModelCard, own: Mapping[str, bytes]) -> ModelCard:
    files = further_files(folder)
    if CARD_TEXT in files:
        files[CARD_TEXT] = describe(card).encode()
    return save_model(out, weights, card, {**files, **own})


def _some_photos(export: Export, embedder: Embedder, read: Read, progress: Progress) -> NDArray[np.uint8]:
    photos = (row for row in export.rows() if isinstance(row, Photo))
    # Evenly over the export, which may be sorted by category.
    rows = take(2 * CALIBRATION, islice(photos, None, None, max(1, export.photos // (2 * CALIBRATION))))
    pixels = []
    with ThreadPoolExecutor(_READERS, "read") as readers, progress("Reading photos", len(rows)) as advance:
        for image in readers.map(lambda row: open_or_none(row, read), rows):
            if image is not None:
                pixels.append(embedder.preprocess(image))
            advance(1)
    if len(pixels) < 2 * _FEWEST:
        raise ExportUnreadable(
            f"{export.path} has {len(pixels)} usable photos; {2 * _FEWEST} are needed to calibrate by, "
            f"{2 * CALIBRATION} are better.",
            hint="Give an export of photos like those that will be embedded.",
        )
    return np.stack(pixels)

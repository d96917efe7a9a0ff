"""`marketlens model quantize`: copy a model folder with int8 weights, or with int8 arithmetic."""

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
from embedding.checkpoint import companion_files, load_model, load_weights, save_model
from embedding.embedder import Embedder
from embedding.engines.onnx_engine import OnnxEngine
from embedding.engines.onnx_graph import build_graph
from embedding.int8_weights import Weights, quantize
from embedding.photos import open_or_none
from embedding.quantization.onnx_int8 import to_int8

CALIBRATION = 256
_MIN_PHOTOS, _READER_THREADS = 32, 4


@dataclass(frozen=True, slots=True)
class Agreement:
    """Cosines between a model's float embeddings and its int8 embeddings of the same photos."""

    photos: int
    mean: float
    lowest: float


def quantize_model(folder: Path, out: Path) -> ModelCard:
    """Save a model with int8 weights; copy the other files of its folder, except for the int8 graph.

    The fingerprint changes because the embeddings change: a catalogue belongs to one of the two models.
    Raises ModelMissing, ModelBroken, OutputFailed.
    """
    weights, card = load_model(folder)
    card_changes = {"name": out.name, "arithmetic": "float", "stored_as": "int8, a scale per output channel"}
    return _save(folder, out, quantize(weights), card.model_copy(update=card_changes), {})


def quantize_arithmetic(
    folder: Path, out: Path, export: Export, *, read: Read, progress: Progress
) -> tuple[ModelCard, Agreement]:
    """Save a model that calculates in int8, calibrated on photos of an export; its stored weights do not change.

    Its agreement with the float model is measured on photos that were not used for calibration. Raises the errors of
    `quantize_model`, ExportUnreadable.
    """
    refuse_existing(out)
    weights, card = load_model(folder)
    graph = build_graph(card.architecture, card.transform, weights)
    embedder = Embedder(card, OnnxEngine(graph))
    pixels = _sample_photos(export, embedder, read, progress)
    with progress("Calibrating", len(pixels[::2])) as advance:
        int8_onnx = to_int8(graph, pixels[::2], advance)
    card = card.model_copy(update={"name": out.name, "arithmetic": "int8"})
    card = _save(folder, out, load_weights(folder), card, {INT8_ONNX: int8_onnx})
    float_embeddings, int8_embeddings = (
        embedder.embed_pixels(pixels[1::2]),
        Embedder.load(out).embed_pixels(pixels[1::2]),
    )
    cosines = (float_embeddings * int8_embeddings).sum(axis=1)
    return card, Agreement(len(cosines), float(cosines.mean()), float(cosines.min()))


def _save(folder: Path, out: Path, weights: Weights, card: ModelCard, new_files: Mapping[str, bytes]) -> ModelCard:
    files = companion_files(folder)
    if CARD_TEXT in files:
        files[CARD_TEXT] = describe(card).encode()
    return save_model(out, weights, card, {**files, **new_files})


def _sample_photos(export: Export, embedder: Embedder, read: Read, progress: Progress) -> NDArray[np.uint8]:
    photos = (row for row in export.rows() if isinstance(row, Photo))
    # Spread evenly over the export, which may be sorted by category.
    rows = take(2 * CALIBRATION, islice(photos, None, None, max(1, export.photos // (2 * CALIBRATION))))
    pixels = []
    with ThreadPoolExecutor(_READER_THREADS, "read") as readers, progress("Reading photos", len(rows)) as advance:
        for image in readers.map(lambda row: open_or_none(row, read), rows):
            if image is not None:
                pixels.append(embedder.preprocess(image))
            advance(1)
    if len(pixels) < 2 * _MIN_PHOTOS:
        raise ExportUnreadable(
            f"{export.path} has {len(pixels)} usable photos; {2 * _MIN_PHOTOS} are needed for calibration, "
            f"{2 * CALIBRATION} are better.",
            hint="Use an export of photos like those that will be embedded.",
        )
    return np.stack(pixels)

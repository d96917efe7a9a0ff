"""`marketlens words`: teach a model the words of a catalogue's titles. Its embeddings of photos do not change."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd
from more_itertools import chunked
from numpy.typing import NDArray

from catalog.atomic_files import refuse_existing
from catalog.errors import ExportUnreadable, InvalidSetting
from catalog.exports.export import Export
from catalog.listing import Embeddings, Photo
from catalog.photo_files.hosts import Read
from catalog.progress import Advance, Progress
from embedding.card import INT8_ONNX, ArchitectureConfig, ModelCard, TwoPartHeadConfig
from embedding.card_text import CARD_TEXT, describe
from embedding.checkpoint import (
    TRAINED_ON,
    companion_files,
    listing_hash,
    load_weights,
    save_model,
    trained_listing_hashes,
    without_text,
)
from embedding.embedder import Embedder
from embedding.evaluation import calibration
from embedding.evaluation.words import measure_with_words
from embedding.int8_weights import Weights, quantize
from embedding.photos import open_or_none
from embedding.text.features import words_of
from embedding.text.tower import TextTower
from embedding.training.balance import shift
from embedding.training.words import Lesson, Words, half, learn_words

_READER_THREADS, _BATCH = 4, 256
_HELD_OUT_PERCENT = 15
_MIN_HELD_OUT = 20
_MIN_UNKNOWN = 200  # listings to hold out from; with fewer, those that the photos' tower knows are held out as well


def add_words(
    folder: Path,
    exports: Sequence[Export],
    out: Path,
    title_share: float,
    *,
    kind_share: float | None,
    read: Read,
    progress: Progress,
) -> ModelCard:
    """Save a copy of a model with a text tower that was learned from exports; a tower that it had is replaced.

    The tower is learned twice: without 15 % of the listings, to measure and calibrate it on these, then with all.
    `kind_share` also shifts the photos' embeddings, as `marketlens model balance` does. Raises InvalidSetting,
    ExportUnreadable, ModelMissing, ModelBroken, OutputFailed.
    """
    refuse_existing(out)
    embedder = Embedder.load(folder)
    if kind_share is not None and not isinstance(embedder.card.architecture.head, TwoPartHeadConfig):
        raise InvalidSetting(f"The model in {folder} does not have two parts to balance: leave out --kind-share.")
    with progress("Embedding", sum(export.photos for export in exports)) as advance:
        photos, embeddings = _embed(exports, embedder, read, advance)
    probabilities = embedder.classify(embeddings)
    card, head = embedder.card, embedder.card.architecture.head
    if kind_share is not None and isinstance(head, TwoPartHeadConfig):
        embeddings, head = shift(embeddings, head, kind_share), head.model_copy(update={"kind_share": kind_share})
        card = card.model_copy(update={"architecture": ArchitectureConfig(trunk=card.architecture.trunk, head=head)})
    held_out = _choose_held_out(photos, trained_listing_hashes(folder))
    lesson = Lesson.of(photos[~held_out], embeddings[~held_out], card.categories)
    measured = learn_words(lesson, head, title_share, seed=0, progress=progress)
    tower = TextTower(measured.config, measured.weights)
    words = learn_words(Lesson.of(photos, embeddings, card.categories), head, title_share, seed=0, progress=progress)
    card, _, stored = measure_with_words(
        card, tower, photos, embeddings, probabilities, calibrate_on=held_out, measure_on=held_out
    )
    listing = pd.factorize(photos["listing_id"])[0]
    pairs = calibration.nearest_pairs(stored, listing, held_out, embeddings)
    card = card.model_copy(update={"calibration": calibration.fit(*pairs)})
    facts = {
        "listings": int(photos["listing_id"].nunique()),
        "held_out_listings": int(photos["listing_id"][held_out].nunique()),
        "photos": len(photos),
    }
    hashes = trained_listing_hashes(folder) | {listing_hash(listing_id) for listing_id in photos["listing_id"].unique()}
    files = companion_files(folder) | {TRAINED_ON: "".join(f"{line}\n" for line in sorted(hashes)).encode()}
    if card.arithmetic == "int8":
        files[INT8_ONNX] = (folder / INT8_ONNX).read_bytes()
    return save_with_words(out, load_weights(folder), card, words, facts, files)


def save_with_words(
    out: Path, weights: Weights, card: ModelCard, words: Words, facts: Mapping[str, int], files: dict[str, bytes]
) -> ModelCard:
    """Save a model's weights (in their stored precision) with a text tower. Raises OutputFailed."""
    architecture = card.architecture
    card = card.model_copy(
        update={
            "name": out.name,
            "architecture": ArchitectureConfig(trunk=architecture.trunk, head=architecture.head, text=words.config),
            # The error is that of a curve which was fitted before.
            "training": {name: fact for name, fact in card.training.items() if name != "calibration_error"}
            | {"words": facts},
        }
    )
    if CARD_TEXT in files:  # an imported model has none
        files = files | {CARD_TEXT: describe(card).encode()}
    is_int8 = any(tensor.dtype == np.int8 for tensor in weights.values())
    text = quantize(words.weights) if is_int8 else half(words.weights)
    return save_model(out, {**without_text(weights), **text}, card, files)


def _choose_held_out(photos: pd.DataFrame, known_hashes: frozenset[str]) -> NDArray[np.bool_]:
    """Mark the photos to hold out. Listings with equal titles stay together."""
    unknown = np.array([listing_hash(listing_id) not in known_hashes for listing_id in photos["listing_id"]])
    if photos["listing_id"][unknown].nunique() < _MIN_UNKNOWN:
        unknown[:] = True
    bucket = np.array([crc32(" ".join(words_of(title)).encode()) % 100 for title in photos["title"]])
    held_out = unknown & (bucket < _HELD_OUT_PERCENT)
    if photos["listing_id"][held_out].nunique() < _MIN_HELD_OUT:
        raise ExportUnreadable(
            f"Only {photos['listing_id'].nunique():,} listings have a usable photo: too few to learn words and to "
            "measure the result.",
            hint="Use an export with several hundred listings.",
        )
    return held_out


def _embed(
    exports: Sequence[Export], embedder: Embedder, read: Read, advance: Advance
) -> tuple[pd.DataFrame, Embeddings]:
    """Embed the usable photos of exports. Of photos with the same id in several exports, the first is used."""
    rows: dict[str, Photo] = {}
    parts: list[Embeddings] = []
    with ThreadPoolExecutor(_READER_THREADS, "read") as readers:
        for export in exports:
            for batch in chunked(export.rows(), _BATCH):
                photos = [row for row in batch if isinstance(row, Photo) and row.photo_id not in rows]
                images = list(readers.map(lambda photo: open_or_none(photo, read), photos))
                usable = [(photo, image) for photo, image in zip(photos, images, strict=True) if image is not None]
                rows |= {photo.photo_id: photo for photo, _ in usable}
                parts.append(embedder.embed([image for _, image in usable]))
                advance(len(batch))
    listings = [photo.listing for photo in rows.values()]
    frame = pd.DataFrame(
        {
            "photo_id": list(rows),
            "description": [photo.description for photo in rows.values()],
            **{
                name: [getattr(listing, name) for listing in listings]
                for name in ("listing_id", "title", "category", "subcategory")
            },
        }
    )
    return frame, np.concatenate(parts) if parts else np.empty((0, embedder.dim), np.float32)

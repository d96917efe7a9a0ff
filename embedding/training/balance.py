"""`marketlens model balance`: shift a model's cosine between "the same item" and "the same kind of thing"."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.errors import InvalidSetting
from catalog.listing import Embeddings
from catalog.progress import Progress
from embedding.card import ModelCard, TwoPartHeadConfig, read_card
from embedding.card_text import CARD_TEXT, describe
from embedding.checkpoint import companion_files, load_model, load_weights, save_model
from embedding.embedder import Embedder
from embedding.int8_weights import Weights
from embedding.text.tower import TextTower
from embedding.training.prepared_dataset import PhotoDataset, iter_batches, read_prepared
from embedding.training.trained_model import add_measurements
from embedding.transforms import embed_transform

_LAST_LAYER = "text.embedding"


def balance_model(
    folder: Path, prepared: Path, kind_share: float, out: Path, *, twin: Path | None, progress: Progress
) -> ModelCard:
    """Save a model with another share of its kind part in a cosine, measured and calibrated again on the data set.

    The parts themselves and the category head's output do not change. A model that was trained on all splits takes the
    figures of its `twin`, which must have been balanced with the same share before. Raises InvalidSetting if a model
    does not have two parts or the twin is of another model; ModelMissing, ModelBroken, OutputFailed.
    """
    card = read_card(folder)
    head = card.architecture.head
    if not isinstance(head, TwoPartHeadConfig):
        raise InvalidSetting(
            f"The model in {folder} does not have two parts to balance.", hint="Train one: marketlens train"
        )
    balanced = head.model_copy(update={"kind_share": kind_share})
    card_changes = {
        "name": out.name,
        "arithmetic": "float",
        "architecture": card.architecture.model_copy(update={"head": balanced}),
    }
    training_changes = {"balanced_from": card.fingerprint}
    files = companion_files(folder)
    if "twin" in card.training["arguments"]:
        twin_card, plots = _load_twin(card, twin, kind_share)
        files |= plots
        training_changes |= {"calibration_error": twin_card.training["calibration_error"]}
        card = card.model_copy(update=card_changes | {"training": card.training | training_changes})
        card = card.with_figures_of(twin_card)
    else:
        data = read_prepared(prepared)
        embedder = Embedder.load(folder)
        dataset = PhotoDataset(data.photos, embed_transform(card.transform))
        with progress("Measuring", len(data.photos)) as advance:
            parts = []
            for pixels in iter_batches(dataset, embedder.batch):
                parts.append(embedder.embed_pixels(pixels.numpy()))
                advance(len(pixels))
        embeddings = np.concatenate(parts)
        probabilities = embedder.classify(embeddings)
        assert probabilities is not None  # noqa: S101 - a two-part head classifies
        card = card.model_copy(update=card_changes | {"training": card.training | training_changes})
        text = card.architecture.text
        tower = TextTower(text, _shift_words(load_model(folder)[0], head, kind_share)) if text else None
        card, figures, _ = add_measurements(card, data, shift(embeddings, head, kind_share), probabilities, tower)
        files |= figures
    files[CARD_TEXT] = describe(card).encode()
    return save_model(out, _shift_words(load_weights(folder), head, kind_share), card, files)


def shift(embeddings: Embeddings, head: TwoPartHeadConfig, kind_share: float) -> Embeddings:
    """Scale embeddings (n, dim) to those of the same network with another share of the kind part."""
    item, kind = np.split(embeddings, [head.item_dim], axis=1)
    item_scale = math.sqrt((1 - kind_share) / (1 - head.kind_share))
    return np.concatenate([item_scale * item, math.sqrt(kind_share / head.kind_share) * kind], axis=1)


def _shift_words(weights: Weights, head: TwoPartHeadConfig, kind_share: float) -> dict[str, NDArray[Any]]:
    """Shift the text tower so that every text finds the shifted photos in the same order as before.

    The last layer's rows are divided by what the photos' parts are multiplied with.
    """
    shifted = dict(weights)
    if f"{_LAST_LAYER}.weight" in weights:
        factors = 1 / shift(np.ones((1, head.dim), np.float32), head, kind_share)[0]
        # Of int8 weights, the scale of each row.
        scaled = ".weight.scale" if f"{_LAST_LAYER}.weight.scale" in weights else ".weight"
        for name in (f"{_LAST_LAYER}{scaled}", f"{_LAST_LAYER}.bias"):
            tensor = weights[name]
            shifted[name] = (tensor * factors.reshape(-1, *[1] * (tensor.ndim - 1))).astype(tensor.dtype)
    return shifted


def _load_twin(card: ModelCard, twin: Path | None, kind_share: float) -> tuple[ModelCard, dict[str, bytes]]:
    if twin is None:
        raise InvalidSetting(
            "This model was trained on all splits: nothing is left to measure it on.",
            hint="Balance its twin first, then pass it: --twin FOLDER",
        )
    twin_card = read_card(twin)
    head = twin_card.architecture.head
    is_twin = twin_card.training.get("balanced_from") == card.training["arguments"]["twin"]
    if not is_twin or not isinstance(head, TwoPartHeadConfig) or head.kind_share != kind_share:
        raise InvalidSetting(f"The model in {twin} is not this model's twin, balanced with a share of {kind_share}.")
    plots = ("plots/confusion.png", "plots/reliability.png")
    return twin_card, {name: (twin / name).read_bytes() for name in plots if (twin / name).exists()}

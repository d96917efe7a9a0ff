"""`marketlens model balance`: shift a model's cosine between "the same item" and "the same kind of thing"."""

import math
from pathlib import Path

import numpy as np

from catalog.errors import InvalidSetting
from catalog.listing import Embeddings
from catalog.progress import Progress
from embedding.card import ArchitectureConfig, ModelCard, TwoPartHeadConfig, read_card
from embedding.card_text import CARD_TEXT, describe
from embedding.checkpoint import further_files, load_weights, save_model
from embedding.embedder import Embedder
from embedding.training.prepared_dataset import PhotoDataset, in_order, read_prepared
from embedding.training.trained_model import measured_card
from embedding.transforms import embed_transform


def balance_model(
    folder: Path, prepared: Path, kind_share: float, out: Path, *, twin: Path | None, progress: Progress
) -> ModelCard:
    """Save a model with another share of its kind part in a cosine, measured and calibrated anew on the data set.

    The parts themselves stay as they were trained, and so does what the category head says. A model that was trained
    on all splits takes the figures of its `twin`, which was balanced the same way before. Raises InvalidSetting where
    a model has no two parts or a twin is not its own; ModelMissing, ModelBroken, OutputFailed.
    """
    card = read_card(folder)
    head = card.architecture.head
    if not isinstance(head, TwoPartHeadConfig):
        raise InvalidSetting(f"The model in {folder} has no two parts to balance.", hint="Train one: marketlens train")
    balanced = head.model_copy(update={"kind_share": kind_share})
    own = {
        "name": out.name,
        "arithmetic": "float",
        "architecture": ArchitectureConfig(trunk=card.architecture.trunk, head=balanced),
    }
    told = {"balanced_from": card.fingerprint}
    files = further_files(folder)
    if "twin" in card.training["arguments"]:
        measured, plots = _twin_of(card, twin, kind_share)
        files |= plots
        told |= {"calibration_error": measured.training["calibration_error"]}
        own |= {"metrics": measured.metrics, "calibration": measured.calibration}
        card = card.model_copy(update=own | {"training": card.training | told})
    else:
        data = read_prepared(prepared)
        embedder = Embedder.load(folder)
        dataset = PhotoDataset(data.photos, embed_transform(card.transform))
        with progress("Measuring", len(data.photos)) as advance:
            parts = []
            for pixels in in_order(dataset, embedder.batch):
                parts.append(embedder.embed_pixels(pixels.numpy()))
                advance(len(pixels))
        embeddings = np.concatenate(parts)
        probabilities = embedder.classify(embeddings)
        assert probabilities is not None  # noqa: S101 - a head of two parts has one for categories
        card = card.model_copy(update=own | {"training": card.training | told})
        card, figures, _ = measured_card(card, data, shift(embeddings, head, kind_share), probabilities)
        files |= figures
    files[CARD_TEXT] = describe(card).encode()
    return save_model(out, load_weights(folder), card, files)


def shift(embeddings: Embeddings, head: TwoPartHeadConfig, kind_share: float) -> Embeddings:
    """Embeddings (n, dim) as the same network gives them with another share of the kind part."""
    item, kind = np.split(embeddings, [head.item_dim], axis=1)
    item_scale = math.sqrt((1 - kind_share) / (1 - head.kind_share))
    return np.concatenate([item_scale * item, math.sqrt(kind_share / head.kind_share) * kind], axis=1)


def _twin_of(card: ModelCard, twin: Path | None, kind_share: float) -> tuple[ModelCard, dict[str, bytes]]:
    if twin is None:
        raise InvalidSetting(
            "This model was trained on all splits: nothing is left to measure it on.",
            hint="Balance its twin first, and give that: --twin FOLDER",
        )
    found = read_card(twin)
    head = found.architecture.head
    own = found.training.get("balanced_from") == card.training["arguments"]["twin"]
    if not own or not isinstance(head, TwoPartHeadConfig) or head.kind_share != kind_share:
        raise InvalidSetting(f"The model in {twin} is not this model's twin, balanced with a share of {kind_share}.")
    plots = ("plots/confusion.png", "plots/reliability.png")
    return found, {name: (twin / name).read_bytes() for name in plots if (twin / name).exists()}

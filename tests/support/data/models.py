"""Fake and random models. The fake engine embeds pixels, so similar photos are near, and counts its calls."""

import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedding.card import ArchitectureConfig, ClassifierHeadConfig, ModelCard, TextConfig, TransformConfig, read_card
from embedding.checkpoint import load_weights, save_model
from embedding.embedder import Embedder
from embedding.engines.onnx_graph import tensor_shapes
from embedding.text.features import extract_features
from embedding.text.tower import TextTower

DIM = 2048

CELLS = 26


class FakeEngine:
    """26 x 26 average colours, centred, unit length, in 2,048 dimensions."""

    def __init__(self) -> None:
        self.photos = 0

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.photos += len(pixels)
        edges = np.linspace(0, pixels.shape[-1], CELLS + 1).astype(int)[:-1]
        cells = np.add.reduceat(np.add.reduceat(pixels.astype(np.float32), edges, axis=2), edges, axis=3)
        flat = cells.reshape(len(pixels), -1)
        flat -= flat.mean(axis=1, keepdims=True)
        embeddings = np.zeros((len(pixels), DIM), np.float32)
        embeddings[:, : flat.shape[1]] = flat
        embeddings[:, -1] = 1.0  # gives a photo of a single colour a direction too
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def fake_card(fingerprint: str) -> ModelCard:
    return ModelCard(
        name="fake",
        architecture=ArchitectureConfig(),
        transform=TransformConfig(),
        parent="none",
        licence="none",
        fingerprint=fingerprint,
    )


def fake_embedder(fingerprint: str = "fa4e" * 16) -> Embedder:
    return Embedder(fake_card(fingerprint), FakeEngine())


@dataclass(frozen=True)
class LoadedModel:
    """A loaded embedder in place of the model that ingest would load."""

    embedder: Embedder
    folder: Path = Path("nowhere")

    @property
    def card(self) -> ModelCard:
        return self.embedder.card


def random_resnet50(seed: int = 0) -> dict[str, NDArray[np.float16]]:
    """A random state dict of torchvision's resnet50(), float16: He et al., "Delving deep into rectifiers", 2015."""
    random = np.random.default_rng(seed)
    architecture = ArchitectureConfig(head=ClassifierHeadConfig())
    state = {}
    for name, shape in tensor_shapes(architecture).items():
        if len(shape) > 1:
            values = random.normal(scale=np.sqrt(2 / (shape[0] * np.prod(shape[2:]))), size=shape)
        else:
            is_one = name.endswith("running_var") or (name.endswith("weight") and "fc" not in name)
            values = np.full(shape, float(is_one))
        kind = np.int64 if name.endswith("num_batches_tracked") else np.float16
        state[name.removeprefix("trunk.").removeprefix("head.")] = values.astype(kind)
    return state


def random_copy(random_model: Path, folder: Path) -> Path:
    """Copy a model folder, so that a test can change it."""
    return Path(shutil.copytree(random_model, folder))


class GatedEngine(FakeEngine):
    """Waits in every batch until `release` is set, and records the sizes of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.began, self.release = threading.Event(), threading.Event()

    def run(self, pixels):
        self.batches.append(len(pixels))
        self.began.set()
        assert self.release.wait(30)
        return super().run(pixels)


WORDS = ("red", "green", "blue", "chair", "table", "lamp", "oak", "old")


def fake_words(dim: int = DIM, words: Sequence[str] = WORDS, title_share: float = 0.4, seed: int = 0) -> TextTower:
    """A text tower that knows these words and their pieces; each text has a direction of its own."""
    random = np.random.default_rng(seed)
    features = [extract_features(word) for word in words]
    hashes = np.array(sorted({number for item in features for number in (*item.words, *item.pieces)}), np.uint32)
    config = TextConfig(features=len(hashes), width=32, piece=16, hidden=64, title_share=title_share)
    return TextTower(config, words_weights(config, dim, hashes, random))


def words_weights(
    config: TextConfig, dim: int, hashes: NDArray[np.uint32], random: np.random.Generator, categories: int = 0
) -> dict[str, NDArray[Any]]:
    """Return random weights of a text tower with this vocabulary."""
    pieces = config.width // config.piece

    def layer(name: str, outputs: int, inputs: int) -> dict[str, NDArray[Any]]:
        weight = random.normal(size=(outputs, inputs)).astype(np.float32)
        return {f"text.{name}.weight": weight, f"text.{name}.bias": np.zeros(outputs, np.float32)}

    return {
        "text.hashes": hashes,
        "text.idf": np.ones(len(hashes), np.float32),
        "text.codes": random.integers(0, 256, (len(hashes), pieces)).astype(np.uint8),
        "text.codebook": random.normal(size=(pieces, 256, config.piece)).astype(np.float32),
        "text.lengths": np.ones(len(hashes), np.float32),
        **layer("hidden", config.hidden, config.width),
        **layer("embedding", dim, config.hidden),
        **(layer("category", categories, config.features) if categories else {}),
    }


def worded_embedder(fingerprint: str = "fa4e" * 16, title_share: float = 0.4, seed: int = 0) -> Embedder:
    """The fake model with a text tower."""
    words = fake_words(title_share=title_share, seed=seed)
    card = fake_card(fingerprint)
    card = card.model_copy(update={"architecture": ArchitectureConfig(text=words.config)})
    return Embedder(card, FakeEngine(), words=words)


def with_words(folder: Path, out: Path, seed: int = 0, title_share: float = 0.4) -> Path:
    """Save a copy of a model folder with a random text tower that knows WORDS."""
    card, random = read_card(folder), np.random.default_rng(seed)
    features = [extract_features(word) for word in WORDS]
    hashes = np.array(sorted({number for item in features for number in (*item.words, *item.pieces)}), np.uint32)
    config = TextConfig(features=len(hashes), width=32, piece=16, hidden=64, title_share=title_share)
    head = card.architecture.head
    text = words_weights(config, head.dim, hashes, random, head.categories)
    architecture = ArchitectureConfig(trunk=card.architecture.trunk, head=head, text=config)
    save_model(out, load_weights(folder) | text, card.model_copy(update={"architecture": architecture}))
    return out

"""Fake and random models. The fake engine embeds pixels, so similar photos are near, and counts its calls."""

import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedding.card import ArchitectureConfig, ClassifierHeadConfig, ModelCard, TransformConfig
from embedding.embedder import Embedder
from embedding.engines.onnx_graph import tensor_shapes

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

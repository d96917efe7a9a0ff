"""Images -> embeddings. ONNX Runtime on a CPU, torch on a GPU: the same numbers, see tests/test_embedder.py."""

import copy
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from catalog.errors import ModelMissing
from catalog.index import Embeddings
from embedding.card import INT8_ONNX, ModelCard
from embedding.checkpoint import load_model
from embedding.explain import Explainer
from embedding.model import TwoPartHead
from embedding.onnx_engine import OnnxEngine
from embedding.torch_engine import CudaEngine, TorchEngine
from embedding.transforms import embed_transform

Pixels = NDArray[np.uint8]

# Photos in one call: more gains nothing on a CPU and keeps the progress bar waiting; a GPU wants more.
BATCH, CUDA_BATCH = 32, 256

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """Runs the network on one batch: uint8 (n, 3, size, size) -> float32 (n, dim)."""

    def run(self, pixels: Pixels) -> Embeddings: ...  # noqa: D102 - the class says it


class Embedder:
    """Turns photos into embeddings with one model. Safe for threads."""

    def __init__(
        self,
        card: ModelCard,
        engine: Engine,
        head: TwoPartHead | None = None,
        folder: Path | None = None,
        batch: int = BATCH,
    ) -> None:
        """`folder` is where the model lies, for what is loaded only when it is asked for."""
        self.card = card
        self.folder = folder
        self.fingerprint = card.fingerprint
        self.dim = int(card.architecture.head.dim)
        self.batch = batch
        self._engine = engine
        self._head = head
        self._transform = embed_transform(card.transform)

    @classmethod
    def load(cls, folder: Path) -> "Embedder":
        """Load a model folder. Raises ModelMissing, ModelBroken."""
        model, card = load_model(folder)
        # A copy: the category head is small and stays on the CPU, wherever the network goes.
        head = copy.deepcopy(model.head) if isinstance(model.head, TwoPartHead) else None
        if card.arithmetic == "int8":
            # On any machine: in floats it would be another model.
            return cls(card, OnnxEngine(folder / INT8_ONNX), head, folder)
        if torch.cuda.is_available():
            return cls(card, CudaEngine(model), head, folder, CUDA_BATCH)
        try:
            return cls(card, OnnxEngine.load(folder, model, card.fingerprint), head, folder)
        except OSError as error:
            # A read-only model folder, say: slower, not wrong.
            logger.warning(
                "no model.onnx in %s (%s); embedding with torch, at about two thirds of the speed", folder, error
            )
            return cls(card, TorchEngine(model), head, folder)

    @cached_property
    def explainer(self) -> Explainer:
        """Takes this model's scores apart; loaded when it is first asked for. Raises ModelMissing, ModelBroken."""
        if self.folder is None:
            raise ModelMissing(f"The model {self.card.name} lies in no folder, so its scores cannot be explained.")
        return Explainer.load(self.folder)

    def preprocess(self, image: Image.Image) -> Pixels:
        """RGB image -> uint8 (3, size, size). Cheap and free of the GIL, for the threads that read photos."""
        pixels: Pixels = self._transform(image).numpy()
        return pixels

    def embed(self, images: Sequence[Image.Image]) -> Embeddings:
        """RGB images -> float32 (n, dim), finite, unit length."""
        size = self.card.transform.size
        pixels = [self.preprocess(image) for image in images]
        return self.embed_pixels(np.stack(pixels) if pixels else np.empty((0, 3, size, size), np.uint8))

    def embed_pixels(self, pixels: Pixels) -> Embeddings:
        """uint8 (n, 3, size, size) -> float32 (n, dim), finite, unit length."""
        starts = range(0, len(pixels), self.batch)
        parts = [self._engine.run(pixels[start : start + self.batch]) for start in starts]
        embeddings = np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)
        if not np.isfinite(embeddings).all():
            raise FloatingPointError(f"the model {self.card.name} gave embeddings that are not finite")
        return embeddings

    def classify(self, embeddings: Embeddings) -> Embeddings | None:
        """Embeddings (n, dim) -> probabilities of `card.categories` (n, categories); None without a category head.

        An embedding is enough: what is stored in a catalogue can be classified without its photos.
        """
        if self._head is None:
            return None
        with torch.inference_mode():
            probabilities: Embeddings = self._head.classify(torch.from_numpy(embeddings)).softmax(dim=1).numpy()
        return probabilities

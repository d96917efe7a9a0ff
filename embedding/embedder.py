"""Images -> embeddings. ONNX Runtime on a CPU and torch on a GPU give the same result (tests/unit/embedding)."""

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catalog.errors import ModelMissing
from catalog.extras import install_command
from catalog.listing import Embeddings
from embedding.card import INT8_ONNX, ModelCard, TwoPartHeadConfig
from embedding.category_head import CategoryHead
from embedding.checkpoint import load_model
from embedding.engines import gpu
from embedding.engines.onnx_engine import OnnxEngine
from embedding.engines.onnx_graph import build_graph
from embedding.explain import Explainer
from embedding.transforms import embed_transform

Pixels = NDArray[np.uint8]

# Photos per call: more are no faster on a CPU and delay the progress bar; a GPU needs more.
BATCH, CUDA_BATCH = 32, 256

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """Runs the network on one batch: uint8 (n, 3, size, size) -> float32 (n, dim)."""

    def run(self, pixels: Pixels) -> Embeddings: ...  # noqa: D102 - see the class


class Embedder:
    """Computes embeddings of photos with one model. Thread-safe."""

    def __init__(
        self,
        card: ModelCard,
        engine: Engine,
        head: CategoryHead | None = None,
        folder: Path | None = None,
        batch: int = BATCH,
    ) -> None:
        """`folder` is the model folder, from which the explainer is loaded on first use."""
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
        weights, card = load_model(folder)
        config = card.architecture.head
        # The category head is small and stays on the CPU, wherever the network runs.
        head = CategoryHead(config, weights) if isinstance(config, TwoPartHeadConfig) else None
        if card.arithmetic == "int8":
            # Also on a machine with a GPU: in float arithmetic it would be another model.
            return cls(card, OnnxEngine(folder / INT8_ONNX), head, folder)
        if gpu.is_usable():
            from embedding.engines.cuda_engine import CudaEngine  # noqa: PLC0415 - torch is an optional extra
            from embedding.model import build_network  # noqa: PLC0415

            return cls(card, CudaEngine(build_network(card, weights)), head, folder, CUDA_BATCH)
        if gpu.has_driver() and not gpu.has_torch():
            logger.warning(
                "This machine has an NVIDIA GPU, but torch is not installed: embedding on the CPU. Install it: %s",
                install_command("gpu"),
            )
        return cls(card, OnnxEngine(build_graph(card.architecture, card.transform, weights)), head, folder)

    @cached_property
    def explainer(self) -> Explainer:
        """The explainer of this model's scores, loaded on first use. Raises ModelMissing, ModelBroken."""
        if self.folder is None:
            raise ModelMissing(f"The model {self.card.name} has no folder, so its scores cannot be explained.")
        return Explainer.load(self.folder)

    def preprocess(self, image: Image.Image) -> Pixels:
        """RGB image -> uint8 (3, size, size). Cheap, and releases the GIL, for the threads that read photos."""
        return self._transform(image)

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
            raise FloatingPointError(f"the model {self.card.name} returned embeddings that are not finite")
        return embeddings

    def classify(self, embeddings: Embeddings) -> Embeddings | None:
        """Embeddings (n, dim) -> probabilities of `card.categories` (n, categories); None without a category head.

        An embedding is enough: stored listings can be classified without their photos.
        """
        return None if self._head is None else self._head.probabilities(embeddings)

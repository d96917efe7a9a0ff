"""Images -> embeddings. ONNX Runtime on a CPU and torch on a GPU give the same result (tests/unit/embedding)."""

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catalog.errors import InvalidQuery, ModelMissing
from catalog.extras import install_command
from catalog.listing import Embeddings
from embedding.card import INT8_ONNX, CategoryWeights, ModelCard, TwoPartHeadConfig
from embedding.category_head import CategoryHead, combine
from embedding.checkpoint import load_model
from embedding.engines import gpu
from embedding.engines.onnx_engine import OnnxEngine
from embedding.engines.onnx_graph import build_graph
from embedding.explain import Explainer
from embedding.text.stored_words import add_titles, remove_titles
from embedding.text.tower import TextTower
from embedding.transforms import embed_transform

Pixels = NDArray[np.uint8]
Mix = Callable[[Embeddings, Embeddings, float], Embeddings]

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
        words: TextTower | None = None,
    ) -> None:
        """`folder` is the model folder, from which the explainer is loaded on first use."""
        self.card = card
        self.words = words
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
        text = card.architecture.text
        words = TextTower(text, weights) if text else None
        if card.arithmetic == "int8":
            # Also on a machine with a GPU: in float arithmetic it would be another model.
            return cls(card, OnnxEngine(folder / INT8_ONNX), head, folder, words=words)
        if gpu.is_usable():
            from embedding.engines.cuda_engine import CudaEngine  # noqa: PLC0415 - torch is an optional extra
            from embedding.model import build_network  # noqa: PLC0415

            return cls(card, CudaEngine(build_network(card, weights)), head, folder, CUDA_BATCH, words)
        if gpu.has_driver() and not gpu.has_torch():
            logger.warning(
                "This machine has an NVIDIA GPU, but torch is not installed: embedding on the CPU. Install it: %s",
                install_command("gpu"),
            )
        graph = build_graph(card.architecture, card.transform, weights)
        return cls(card, OnnxEngine(graph), head, folder, words=words)

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

    def require_words(self) -> TextTower:
        """Return the text tower. Raises InvalidQuery, with the command that adds one."""
        if self.words is None:
            raise InvalidQuery(
                f"The model {self.card.name} cannot search by words.",
                hint="Teach it the words of your titles: marketlens words MODEL EXPORT, then marketlens index build.",
            )
        return self.words

    def add_titles(self, photos: Embeddings, titles: Sequence[str]) -> Embeddings:
        """Mix photos (n, dim) with their listings' titles, as they are stored. No change without a text tower."""
        return self._mix(add_titles, photos, titles)

    def remove_titles(self, stored: Embeddings, titles: Sequence[str]) -> Embeddings:
        """Recover the photos (n, dim) from stored vectors and the titles that these were made with."""
        return self._mix(remove_titles, stored, titles)

    def replace_titles(self, stored: Embeddings, before: Sequence[str], after: Sequence[str]) -> Embeddings:
        """Change the titles in stored vectors (n, dim), without their photos. Equal titles leave a vector as it is."""
        changed = np.array([old != new for old, new in zip(before, after, strict=True)], bool)
        if self.words is None or not changed.any():
            return stored
        vectors = stored.copy()
        photos = self.remove_titles(stored[changed], list(compress(before, changed)))
        vectors[changed] = self.add_titles(photos, list(compress(after, changed)))
        return vectors

    def _mix(self, mix: Mix, vectors: Embeddings, titles: Sequence[str]) -> Embeddings:
        if self.words is None or not len(vectors):
            return vectors
        return mix(vectors, self.words.embed(titles), self.words.config.title_share)

    def classify(self, embeddings: Embeddings) -> Embeddings | None:
        """Embeddings (n, dim) -> probabilities of `card.categories` (n, categories); None without a category head.

        An embedding is enough: stored listings can be classified without their photos.
        """
        return None if self._head is None else self._head.probabilities(embeddings)

    def classify_together(self, photos: Embeddings, title: str) -> Embeddings | None:
        """Classify one thing by its photos (n, dim) and its title, each of which may be missing: (categories,).

        None without a category head, or if both are missing or the title has no word that the model knows.
        """
        by_photo = self.classify(photos) if len(photos) else None
        by_title = self.words.classify([title]) if self.words and self.words.known_share([title])[0] else None
        if by_photo is None or by_title is None:
            voices = by_title if by_photo is None else by_photo
            return None if voices is None else np.asarray(voices.mean(axis=0))
        weights = self.card.category_weights or CategoryWeights()
        return np.asarray(combine(by_photo.mean(axis=0, keepdims=True), by_title, weights)[0])

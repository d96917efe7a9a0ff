"""A model that is loaded when the first photo needs it: a run without new photos never loads it."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from embedding.card import ModelCard, read_card

if TYPE_CHECKING:
    from embedding.embedder import Embedder


class Model(Protocol):
    """What ingest needs to know of a model."""

    @property
    def card(self) -> ModelCard: ...  # noqa: D102 - the class says it

    @property
    def embedder(self) -> "Embedder": ...  # noqa: D102

    @property
    def folder(self) -> Path: ...  # noqa: D102


class LazyEmbedder:
    """A model folder whose card is read at once and whose weights are read at first use. Safe for threads."""

    def __init__(self, folder: Path) -> None:
        """Raises ModelMissing, ModelBroken."""
        self.card = read_card(folder)
        self.folder = folder.absolute()
        self._lock = threading.Lock()
        self._embedder: Embedder | None = None

    @property
    def embedder(self) -> "Embedder":
        """The loaded model. Raises ModelBroken."""
        with self._lock:
            if self._embedder is None:
                from embedding.embedder import Embedder  # noqa: PLC0415 - ONNX Runtime takes a while

                self._embedder = Embedder.load(self.folder)
            return self._embedder

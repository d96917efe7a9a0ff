"""The collection that serves requests and the model that made it, swapped together when a build is promoted."""

import logging
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cachetools import TTLCache
from starlette.concurrency import run_in_threadpool

from catalog.errors import CollectionMissing, MarketlensError, ModelMismatch, ModelMissing
from catalog.store.builds import CollectionInfo
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from search_api.serving.category_counts import CategoryCounts
from search_api.serving.embed_queue import ServingStages
from search_api.telemetry.metrics import Metrics

WATCH_SECONDS = 2.0
# Each attempt to load a model reads and hashes its whole folder.
RETRY_SECONDS = 30.0

T = TypeVar("T")
LoadModel = Callable[[Path], Embedder]
MakeStages = Callable[[Embedder], ServingStages]

logger = logging.getLogger("marketlens.api")


@dataclass(frozen=True, slots=True)
class LiveBuild:
    """A build's photos and the model that made them. A request uses the same one from start to end."""

    info: CollectionInfo
    embedder: Embedder
    photos: PhotoCollection
    category_counts: CategoryCounts
    stages: ServingStages


class LiveCatalogue:
    """Provides the live build, and follows the alias: the old build serves until the new one is loaded. Thread-safe."""

    def __init__(
        self, photos: PhotoCollection, embedder: Embedder, load: LoadModel, stages: MakeStages, metrics: Metrics
    ) -> None:
        """`photos` follows the alias; `embedder` is the loaded model, `load` loads another one from its folder."""
        self.photos = photos
        """The catalogue that the alias points at, whichever build serves."""
        self._load = load
        self._make_stages = stages
        self._metrics = metrics
        # By fingerprint: the current model and the previous one, so that a rollback loads nothing.
        self._embedders = {embedder.fingerprint: embedder}
        self._failed_builds: TTLCache[str, bool] = TTLCache(8, RETRY_SECONDS)
        self._current: LiveBuild | None = None
        self._swap_lock = threading.Lock()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="live", daemon=True)
        self.pending = ""
        """Why the live build does not serve yet; empty when it does."""

    def start(self) -> None:
        """Start the thread that follows the alias."""
        self._watcher.start()

    def close(self) -> None:
        """Stop the thread, then close the store."""
        self._stop.set()
        if self._watcher.is_alive():
            self._watcher.join()
        self.photos.close()

    def current(self) -> LiveBuild:
        """Return the build that serves now. If none does, raises CollectionMissing, ModelMismatch, StoreUnreachable."""
        return self._current or self._swap()

    def run_sync(self, work: Callable[[LiveBuild], T]) -> T:
        """Call `work` with the current build; if that was dropped meanwhile, retry with the live one.

        Raises as `current` does.
        """
        live = self.current()
        try:
            return work(live)
        except CollectionMissing:
            newer = self._swap()
            if newer.info.name == live.info.name:
                raise
            return work(newer)

    async def run(self, work: Callable[[LiveBuild], Awaitable[T]]) -> T:
        """Like `run_sync`, for a coroutine that goes through the build's stages."""
        live = self._current
        if live is None:
            live = await run_in_threadpool(self._swap)
        try:
            return await work(live)
        except CollectionMissing:
            newer: LiveBuild = await run_in_threadpool(self._swap)
            if newer.info.name == live.info.name:
                raise
            return await work(newer)

    def _swap(self) -> LiveBuild:
        """Switch to the build that the alias points at, if its model is loaded. Raises as `current` does."""
        with self._swap_lock:
            info, previous = self.photos.info(fresh=True), self._current
            if previous and previous.info.name == info.name:
                return previous
            embedder = self._embedders.get(info.fingerprint)
            if embedder is None:
                raise ModelMismatch(
                    f"The live collection {info.name} was made by the model {info.fingerprint[:12]}, which is not "
                    "loaded.",
                    hint=self.pending or "The model is being loaded; try again in a moment.",
                )
            photos = self.photos.at(info)
            photos.reader.probe()  # raises unless the collection is loaded and searchable
            self._current = LiveBuild(info, embedder, photos, CategoryCounts(photos), self._make_stages(embedder))
            self._metrics.serving.labels(info.name, info.fingerprint[:12]).set(1)
            if previous:
                self._metrics.serving.labels(previous.info.name, previous.info.fingerprint[:12]).set(0)
                self._embedders = {model.fingerprint: model for model in (previous.embedder, embedder)}
                logger.info("serving %s now, previously %s", info.name, previous.info.name)
            return self._current

    def _watch(self) -> None:
        wait = 0.0
        while not self._stop.wait(wait):
            wait = WATCH_SECONDS
            try:
                self._follow()
            except MarketlensError as error:
                self._set_pending(f"{error.message} {error.hint}".strip())
            except Exception:
                # The old build keeps serving whatever the error is, and the next attempt may succeed.
                logger.exception("following the alias failed")

    def _follow(self) -> None:
        info = self.photos.info(fresh=True)
        if info.fingerprint not in self._embedders:
            if info.name in self._failed_builds:
                return
            try:
                self._load_model(info)
            except Exception:
                self._failed_builds[info.name] = True
                raise
        self._swap()
        self._set_pending("")

    def _load_model(self, info: CollectionInfo) -> None:
        if not info.model:
            raise ModelMissing(
                f"The live collection {info.name} was made by the model {info.fingerprint[:12]}, but the folder of "
                "that model is unknown.",
                hint="Start the service with it: --model FOLDER",
            )
        self.pending = f"Loading the model {info.model} of {info.name}."
        logger.info("%s", self.pending)
        embedder = self._load(Path(info.model))
        if embedder.fingerprint != info.fingerprint:
            raise ModelMismatch(
                f"The live collection {info.name} was made by the model {info.fingerprint[:12]}, but {info.model} "
                f"holds {embedder.fingerprint[:12]}.",
                hint="Put the model back, or roll back: marketlens index rollback",
            )
        self._embedders = self._embedders | {info.fingerprint: embedder}

    def _set_pending(self, pending: str) -> None:
        if pending and pending != self.pending:
            logger.error("%s", pending)
        self.pending = pending

"""The pair that answers: a collection and the model that made it, swapped in one step when a build is promoted."""

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
# A folder that could not be loaded is hashed from end to end at every try.
RETRY_SECONDS = 30.0

T = TypeVar("T")
LoadModel = Callable[[Path], Embedder]
MakeStages = Callable[[Embedder], ServingStages]

logger = logging.getLogger("marketlens.api")


@dataclass(frozen=True, slots=True)
class Live:
    """A build's photos and the model that made them. A request keeps the one it began with."""

    info: CollectionInfo
    embedder: Embedder
    photos: PhotoCollection
    overview: CategoryCounts
    stages: ServingStages


class LiveCatalogue:
    """Hands out the pair, and follows the alias: the old pair answers until the new one is loaded. Safe for threads."""

    def __init__(
        self, photos: PhotoCollection, embedder: Embedder, load: LoadModel, stages: MakeStages, metrics: Metrics
    ) -> None:
        """`photos` follows the alias; `embedder` is the model at hand, `load` gets another from its folder."""
        self.photos = photos
        """The catalogue behind the alias, whichever of its builds answers."""
        self._load = load
        self._stages = stages
        self._metrics = metrics
        # By fingerprint: the model that answers, and the one before, so that a rollback needs no loading.
        self._embedders = {embedder.fingerprint: embedder}
        self._failed: TTLCache[str, bool] = TTLCache(8, RETRY_SECONDS)
        self._current: Live | None = None
        self._swapping = threading.Lock()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="live", daemon=True)
        self.pending = ""
        """What keeps the live build from answering; empty when it does."""

    def start(self) -> None:
        """Follow the alias from here on, in a thread of its own."""
        self._watcher.start()

    def close(self) -> None:
        """Stop following, then give the store back."""
        self._stop.set()
        if self._watcher.is_alive():
            self._watcher.join()
        self.photos.close()

    def current(self) -> Live:
        """The pair that answers now. Raises CollectionMissing, ModelMismatch, StoreUnreachable while there is none."""
        return self._current or self._look()

    def answer(self, ask: Callable[[Live], T]) -> T:
        """Ask the pair; when its collection was dropped meanwhile, the one that is live now. Raises as `current`."""
        live = self.current()
        try:
            return ask(live)
        except CollectionMissing:
            now = self._look()
            if now.info.name == live.info.name:
                raise
            return ask(now)

    async def ask(self, ask: Callable[[Live], Awaitable[T]]) -> T:
        """As `answer`, for a coroutine that goes through the pair's stages."""
        live = self._current
        if live is None:
            live = await run_in_threadpool(self._look)
        try:
            return await ask(live)
        except CollectionMissing:
            now: Live = await run_in_threadpool(self._look)
            if now.info.name == live.info.name:
                raise
            return await ask(now)

    def _look(self) -> Live:
        """Take up the build that the alias points at, if its model is loaded. Raises as `current` does."""
        with self._swapping:
            info, before = self.photos.info(fresh=True), self._current
            if before and before.info.name == info.name:
                return before
            embedder = self._embedders.get(info.fingerprint)
            if embedder is None:
                raise ModelMismatch(
                    f"The live collection {info.name} was made by the model {info.fingerprint[:12]}, which is not "
                    "loaded.",
                    hint=self.pending or "It is being loaded; try again in a moment.",
                )
            photos = self.photos.at(info)
            photos.reader.probe()  # loaded, and answering
            self._current = Live(info, embedder, photos, CategoryCounts(photos), self._stages(embedder))
            self._metrics.serving.labels(info.name, info.fingerprint[:12]).set(1)
            if before:
                self._metrics.serving.labels(before.info.name, before.info.fingerprint[:12]).set(0)
                self._embedders = {one.fingerprint: one for one in (before.embedder, embedder)}
                logger.info("answering from %s now, before from %s", info.name, before.info.name)
            return self._current

    def _watch(self) -> None:
        wait = 0.0
        while not self._stop.wait(wait):
            wait = WATCH_SECONDS
            try:
                self._follow()
            except MarketlensError as error:
                self._say(f"{error.message} {error.hint}".strip())
            except Exception:
                # Whatever it is, the old pair answers on, and the next look may succeed.
                logger.exception("following the alias failed")

    def _follow(self) -> None:
        info = self.photos.info(fresh=True)
        if info.fingerprint not in self._embedders:
            if info.name in self._failed:
                return
            try:
                self._load_model(info)
            except Exception:
                self._failed[info.name] = True
                raise
        self._look()
        self._say("")

    def _load_model(self, info: CollectionInfo) -> None:
        if not info.model:
            raise ModelMissing(
                f"The live collection {info.name} was made by the model {info.fingerprint[:12]}, and does not say "
                "where that lies.",
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

    def _say(self, pending: str) -> None:
        if pending and pending != self.pending:
            logger.error("%s", pending)
        self.pending = pending

"""The collection that is read and written: one build, or the one that the alias points at."""

import threading

from cachetools import TTLCache

from catalog.errors import CollectionReplaced, ModelMismatch
from catalog.store.builds import Builds, CollectionInfo
from catalog.store.milvus import Milvus

_INFO_SECONDS = 2.0


class Target:
    """The collection to read from and write to. Safe for threads."""

    def __init__(self, milvus: Milvus, build: str = "") -> None:
        """`build` is the collection's name; '' follows the alias."""
        self.builds = Builds(milvus)
        self.build = build
        self.pinned_name = ""
        """The collection that writes must go to; '' for any."""
        self._milvus = milvus
        self._lock = threading.Lock()
        # A build always means the same collection; the alias may move.
        self._info: TTLCache[str, CollectionInfo] = TTLCache(1, float("inf") if build else _INFO_SECONDS)

    def info(self, *, fresh: bool = False) -> CollectionInfo:
        """Describe the collection; up to two seconds old unless `fresh`. Raises CollectionMissing."""
        with self._lock:
            if not fresh and (cached := self._info.get("")):
                return cached
            info = self.builds.describe(self.build) if self.build else self.builds.live()
            self._milvus.load(info.name)
            self._info[""] = info
            return info

    def require(self, fingerprint: str) -> CollectionInfo:
        """Describe the collection. Raises ModelMismatch unless this model made it; CollectionMissing."""
        info = self.info()
        if info.fingerprint != fingerprint:
            raise ModelMismatch(
                f"The collection {info.name} in {self._milvus.settings.uri_without_password} was made by the model "
                f"{info.fingerprint[:12]}, but the model in use is {fingerprint[:12]}. Embeddings of two models cannot "
                "be compared.",
                hint=f"Use the model that made it (--model {info.model or 'FOLDER'}), or make a build with yours: "
                "marketlens index build",
            )
        return info

    def writable_name(self, *, fresh: bool = False) -> str:
        """Return the name of the collection to write to. Raises CollectionReplaced if another build became live."""
        info = self.info(fresh=fresh)
        if self.pinned_name not in {"", info.name}:
            raise CollectionReplaced(
                f"The build {info.name} became live during writes to {self.pinned_name}.",
                hint="Run it again: rows that the new build lacks are then written to it.",
            )
        return info.name

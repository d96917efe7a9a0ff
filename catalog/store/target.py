"""The collection that is read and written: one build, or the one that the alias points at."""

import threading

from cachetools import TTLCache

from catalog.errors import CollectionReplaced
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

    def writable_name(self, *, fresh: bool = False) -> str:
        """Return the name of the collection to write to. Raises CollectionReplaced if another build became live."""
        info = self.info(fresh=fresh)
        if self.pinned_name not in {"", info.name}:
            raise CollectionReplaced(
                f"The build {info.name} became live during writes to {self.pinned_name}.",
                hint="Run it again: rows that the new build lacks are then written to it.",
            )
        return info.name

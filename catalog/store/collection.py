"""The photos of one collection: its reader, its writer and its notes."""

from collections.abc import Callable
from functools import partial

from catalog.errors import CollectionMissing, ModelMismatch
from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.builds import CollectionInfo
from catalog.store.milvus import Milvus, no_catalogue, translate_errors
from catalog.store.notes import CollectionNotes
from catalog.store.queries import Consistency, Queries
from catalog.store.reader import CategorySize, CollectionReader
from catalog.store.target import Target
from catalog.store.writer import CollectionWriter

__all__ = ["CategorySize", "CollectionInfo", "Consistency", "PhotoCollection", "no_catalogue"]


class PhotoCollection:
    """The photos of one catalogue, through its alias, or those of one build. Safe for threads."""

    def __init__(self, milvus: Milvus, index: IndexSettings, consistency: Consistency, build: str = "") -> None:
        self._milvus = milvus
        self._index = index
        self._consistency = consistency
        self._target = Target(milvus, build)
        queries = Queries(milvus, self._target, consistency)
        self.builds = self._target.builds
        self.reader = CollectionReader(milvus, self._target, queries, consistency)
        self.notes = CollectionNotes(self._target, queries)
        self.writer = CollectionWriter(milvus, self._target, queries, self.notes)

    @classmethod
    def connect(
        cls, milvus: MilvusSettings, index: IndexSettings, *, consistency: Consistency = "Bounded"
    ) -> "PhotoCollection":
        """Open the store. Raises StoreUnreachable, StoreLocked, InvalidSetting. Lite allows one process at a time.

        `Session` sees this process's own latest writes, which the server's default, `Bounded`, may not; it costs 3 ms.
        """
        return cls(Milvus.connect(milvus, index), index, consistency)

    def at(self, build: CollectionInfo) -> "PhotoCollection":
        """Return the photos of this build, live or not. It shares the connection: close only the original."""
        return PhotoCollection(self._milvus, self._index, self._consistency, build.name)

    def close(self) -> None:
        """Close the connection; on Lite, another process can then open the database."""
        self._milvus.close()

    def info(self, *, fresh: bool = False) -> CollectionInfo:
        """Describe the collection; up to two seconds old unless `fresh`. Raises CollectionMissing."""
        return self._target.info(fresh=fresh)

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

    def ensure(self, fingerprint: str, dim: int, *, model: str = "") -> CollectionInfo:
        """Create the collection and its alias unless they exist; `model` is the folder of the model.

        After this call, writes raise CollectionReplaced as soon as another build is live. Raises ModelMismatch.
        """
        try:
            info = self.require(fingerprint)
        except CollectionMissing:
            self.builds.create_live(fingerprint, dim, self._index, model=model)
            info = self.info()
        self._target.pinned_name = info.name
        return info

    def connector(self) -> "Callable[[], PhotoCollection]":
        """Return a function that opens this collection over a new connection, also in another process. Not on Lite.

        Writes over the new connection raise CollectionReplaced as they do here.
        """
        build, pinned_name = self._target.build, self._target.pinned_name
        return partial(_open_again, self._milvus.settings, self._index, self._consistency, build, pinned_name)

    @property
    def is_lite(self) -> bool:
        """Whether this is the embedded database, which belongs to one process."""
        return self._milvus.settings.is_lite

    def server_version(self) -> str:
        """Return the version that Milvus reports. Raises StoreUnreachable."""
        with translate_errors(self._milvus.settings.uri_without_password):
            return str(self._milvus.client.get_server_version(timeout=self._milvus.settings.timeout))


def _open_again(
    milvus: MilvusSettings, index: IndexSettings, consistency: Consistency, build: str, pinned_name: str
) -> PhotoCollection:
    collection = PhotoCollection(Milvus.connect(milvus, index), index, consistency, build)
    collection._target.pinned_name = pinned_name
    return collection

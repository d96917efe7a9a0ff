"""`--bulk`: the sink of a first load. Photos go to files; once a file is imported, its photos are confirmed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from catalog.errors import InvalidSetting, StoreFailed
from catalog.extras import needs
from catalog.settings import BulkSettings
from catalog.store.collection import PhotoCollection
from ingest.stages.batch import Batch, Confirmed, confirm
from ingest.stages.lazy_model import Model
from ingest.stages.writer import UpsertSink, records
from ingest.store_retry import StoreRetry

if TYPE_CHECKING:
    from catalog.store.bulk_import import BulkLoad

NOTE = "bulk"
"""Key of the collection's note that a bulk load has begun."""


class BulkSink:
    """Imports new photos; upserts those that the store already knows."""

    def __init__(self, load: "BulkLoad", collection: PhotoCollection, retry: StoreRetry, model: Model) -> None:
        self._load = load
        self._upserts = UpsertSink(collection, retry, model)
        self._retry = retry
        self._pending: list[Confirmed] = []

    def write(self, batch: Batch) -> Sequence[Confirmed]:
        """Add the batch to the file; when the file is full, import it and return the batches in it as confirmed."""
        if any(
            row.known for row in batch.new
        ):  # changed since an interrupted bulk load: an import would store it twice
            return self._upserts.write(batch)
        if batch.new:
            self._load.append(records(batch.new), batch.vectors())
            self._pending.append(confirm(Batch(new=batch.new)))
        rest = Batch(same_bytes=batch.same_bytes, rejected=batch.rejected)
        done = self._upserts.write(rest) if len(rest) else []
        return [*done, *(self._import() if self._load.full else [])]

    def finish(self) -> Sequence[Confirmed]:
        """Import the last file."""
        return self._import()

    def _import(self) -> list[Confirmed]:
        expected = sum(len(confirmed.lines) for confirmed in self._pending)
        rows = self._retry(self._load.load)
        if rows != expected:
            raise StoreFailed(f"Milvus confirmed {rows:,} of {expected:,} rows of a bulk import.")
        done, self._pending = self._pending, []
        return done


@contextmanager
def bulk_loading(
    collection: PhotoCollection, settings: BulkSettings, retry: StoreRetry, model: Model, *, cut_off: bool
) -> Iterator[BulkSink]:
    """A sink for a collection that is empty, or whose earlier bulk load was interrupted (`cut_off`).

    Raises InvalidSetting for any other collection.
    """
    load = collection.writer.bulk_load(settings)
    if not cut_off and (photos := retry(collection.reader.count)):
        raise InvalidSetting(
            f"--bulk is for first loads, and {collection.info().name} holds {photos:,} photos already.",
            hint="Run without --bulk: then only new photos are written.",
        )
    collection.notes.set(NOTE, "under way")
    yield BulkSink(load, collection, retry, model)
    finish_interrupted_load(collection, settings, retry)


def finish_interrupted_load(collection: PhotoCollection, settings: BulkSettings, retry: StoreRetry) -> bool:
    """Wait until the photos of a bulk load that has begun can be looked up; returns whether there was one.

    Before that, a photo that is being imported would seem to be missing and be stored twice. Raises InvalidSetting if
    the extra `bulk` is not installed.
    """
    if not collection.notes.get(NOTE):
        return False
    with needs("bulk", f"A bulk load of {collection.info().name} was interrupted, and only its extra can finish it."):
        load = collection.writer.bulk_load(settings)
    retry(load.wait_for_imports)
    collection.notes.set(NOTE, "")
    return True

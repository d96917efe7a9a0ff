"""`--bulk`: the sink of a first load. Photos go to files, files are imported, and then they are confirmed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from catalog.errors import InvalidSetting, StoreFailed
from catalog.extras import needs
from catalog.settings import BulkSettings
from catalog.store.collection import PhotoCollection
from ingest.patience import Patience
from ingest.stages.batch import Batch, Confirmed, confirm
from ingest.stages.writer import Upserts, records

if TYPE_CHECKING:
    from catalog.store.bulk_import import BulkLoad

NOTE = "bulk"
"""What stands with a collection while its bulk load is under way."""


class Bulk:
    """Imports photos that the store has never seen; what it knows is written as always."""

    def __init__(self, load: "BulkLoad", collection: PhotoCollection, patience: Patience) -> None:
        self._load = load
        self._upserts = Upserts(collection, patience)
        self._patience = patience
        self._pending: list[Confirmed] = []

    def write(self, batch: Batch) -> Sequence[Confirmed]:
        """Put it into the file; what was in there before is confirmed when the file is full."""
        if any(row.known for row in batch.new):  # changed since a bulk load was cut off: an import would double it
            return self._upserts.write(batch)
        if batch.new:
            self._load.append(records(batch.new), batch.vectors())
            self._pending.append(confirm(Batch(new=batch.new)))
        rest = Batch(same_bytes=batch.same_bytes, rejected=batch.rejected)
        done = self._upserts.write(rest) if len(rest) else []
        return [*done, *(self._import() if self._load.full else [])]

    def finish(self) -> Sequence[Confirmed]:
        """Import what is left."""
        return self._import()

    def _import(self) -> list[Confirmed]:
        expected = sum(len(one.lines) for one in self._pending)
        rows = self._patience(self._load.load)
        if rows != expected:
            raise StoreFailed(f"Milvus confirmed {rows:,} of {expected:,} rows of a bulk import.")
        done, self._pending = self._pending, []
        return done


@contextmanager
def bulk_loading(
    collection: PhotoCollection, settings: BulkSettings, patience: Patience, *, cut_off: bool
) -> Iterator[Bulk]:
    """A sink for a collection that is empty, or whose bulk load was `cut_off` before.

    Raises InvalidSetting for any other one.
    """
    load = collection.writer.bulk_load(settings)
    if not cut_off and (photos := patience(collection.reader.count)):
        raise InvalidSetting(
            f"--bulk is for first loads, and {collection.info().name} holds {photos:,} photos already.",
            hint="Leave --bulk out: what is new is written, what is there is not.",
        )
    collection.notes.set(NOTE, "under way")
    yield Bulk(load, collection, patience)
    settle(collection, settings, patience)


def settle(collection: PhotoCollection, settings: BulkSettings, patience: Patience) -> bool:
    """Where a bulk load was begun, wait until what it imports can be looked up; whether there was one.

    Until then a photo on its way in would be taken for one that is not there, and come twice. Raises InvalidSetting
    where the packages to ask with are not installed.
    """
    if not collection.notes.get(NOTE):
        return False
    with needs("bulk", f"A bulk load of {collection.info().name} was cut off, and only its extra can end it."):
        load = collection.writer.bulk_load(settings)
    patience(load.settle)
    collection.notes.set(NOTE, "")
    return True

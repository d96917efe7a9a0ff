"""Writing to a collection: photos, one listing at a time, or files that Milvus imports."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from catalog.errors import CollectionReplaced, IngestRunning, StoreFailed
from catalog.listing import Embeddings, StoredPhoto
from catalog.runs.claim_watch import CLAIM, ClaimWatch
from catalog.settings import BulkSettings
from catalog.store.filters import one_of
from catalog.store.listing_change import ListingChange
from catalog.store.milvus import WRITE_SECONDS, Milvus, translated
from catalog.store.notes import CollectionNotes
from catalog.store.queries import STRONG, Queries
from catalog.store.records import check_embeddings, to_row
from catalog.store.target import Target

if TYPE_CHECKING:
    from catalog.store.bulk_import import BulkLoad

UPSERT_ROWS = 1_000  # a message must stay under 64 MiB; 1,000 rows of 2,048 dimensions are 8


class CollectionWriter:
    """Writes to one collection. Safe for threads.

    All methods raise CollectionReplaced, StoreFailed and StoreUnreachable.
    """

    def __init__(self, milvus: Milvus, target: Target, queries: Queries, notes: CollectionNotes) -> None:
        self._milvus = milvus
        self._client = milvus.client
        self._settings = milvus.settings
        self._target = target
        self._queries = queries
        self._notes = notes
        self._changing = threading.Lock()
        self._claims = ClaimWatch()

    def upsert(self, photos: Sequence[StoredPhoto], embeddings: Embeddings) -> None:
        """Write photos with their embeddings (n, dim), unit length; an id that is there already is replaced.

        When this returns, Milvus has confirmed every row. Raises StoreFailed, StoreUnreachable.
        """
        check_embeddings(photos, embeddings, self._target.info().dim)
        rows = [to_row(photo) | {"embedding": vector} for photo, vector in zip(photos, embeddings, strict=True)]
        name = self._target.writable_name()
        with self._milvus.write_lock, translated(self._settings.shown):
            for start in range(0, len(rows), UPSERT_ROWS):
                chunk = rows[start : start + UPSERT_ROWS]
                answer = self._client.upsert(name, chunk, timeout=WRITE_SECONDS)
                if answer["upsert_count"] != len(chunk):
                    raise StoreFailed(f"Milvus confirmed {answer['upsert_count']} of {len(chunk)} rows.")
            if self._settings.is_lite:
                # Lite searches what is not flushed row by row, at 45 to 165 microseconds each.
                self._client.flush(name)

    def flush(self) -> None:
        """Seal what was written, so that a server builds its index now. Call once at the end of a run."""
        name = self._target.writable_name(fresh=True)
        with self._milvus.write_lock, translated(self._settings.shown):
            self._client.flush(name, timeout=WRITE_SECONDS)

    def remove(self, photo_ids: Sequence[str]) -> None:
        """Delete photos; when this returns, Milvus has confirmed. Ids that are not there are passed over."""
        name = self._target.writable_name()
        with self._milvus.write_lock, translated(self._settings.shown):
            for start in range(0, len(photo_ids), UPSERT_ROWS):
                expression = one_of("photo_id", photo_ids[start : start + UPSERT_ROWS])
                self._client.delete(name, filter=expression, timeout=WRITE_SECONDS)

    @contextmanager
    def change_listing(self, listing_id: str) -> Iterator[ListingChange]:
        """Open a listing for one change, beside which this process makes no other: decide within by what is there.

        Raises IngestRunning, see docs/decisions/0020; CollectionReplaced, StoreFailed, StoreUnreachable.
        """
        with self._changing:
            name = self._target.writable_name()
            if self._target.build and self._target.builds.live().name != name:
                raise CollectionReplaced(f"The build {name} is not the live one any more.", hint="Try again.")
            if self._claims.is_alive(self._notes.get(CLAIM), time.monotonic()):
                raise IngestRunning(
                    "An ingest writes to this catalogue, and might undo this change.",
                    hint="Try again when it is done: `marketlens ingest status` shows the runs.",
                )
            yield ListingChange(self, self._notes, listing_id, self._queries.listing_photos(listing_id, **STRONG))

    def bulk_load(self, settings: BulkSettings) -> "BulkLoad":
        """What fills this collection by files. Raises what it raises; ImportError without the extra `bulk`."""
        from catalog.store.bulk_import import BulkLoad  # noqa: PLC0415 - with packages of its own

        return BulkLoad(self._milvus, self._target.info(), settings)

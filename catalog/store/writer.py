"""Write to a collection: batches of photos, changes of one listing, or files that Milvus imports."""

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
from catalog.store.milvus import WRITE_SECONDS, Milvus, translate_errors
from catalog.store.notes import CollectionNotes
from catalog.store.queries import STRONG, Queries
from catalog.store.records import check_embeddings, to_row
from catalog.store.target import Target

if TYPE_CHECKING:
    from catalog.store.bulk_import import BulkLoad

UPSERT_ROWS = 1_000  # a message must stay under 64 MiB; 1,000 rows of 2,048 dimensions take 8 MiB


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
        self._change_lock = threading.Lock()
        self._claims = ClaimWatch()

    def upsert(self, photos: Sequence[StoredPhoto], embeddings: Embeddings) -> None:
        """Write photos with their embeddings (n, dim) of unit length; replace rows with the same id.

        Returns after Milvus has confirmed every row. Raises StoreFailed, StoreUnreachable.
        """
        check_embeddings(photos, embeddings, self._target.info().dim)
        rows = [to_row(photo) | {"embedding": vector} for photo, vector in zip(photos, embeddings, strict=True)]
        name = self._target.writable_name()
        with self._milvus.write_lock, translate_errors(self._settings.uri_without_password):
            for start in range(0, len(rows), UPSERT_ROWS):
                chunk = rows[start : start + UPSERT_ROWS]
                result = self._client.upsert(name, chunk, timeout=WRITE_SECONDS)
                if result["upsert_count"] != len(chunk):
                    raise StoreFailed(f"Milvus confirmed {result['upsert_count']} of {len(chunk)} rows.")
            if self._settings.is_lite:
                # Lite searches unflushed rows one by one, at 45 to 165 microseconds each.
                self._client.flush(name)

    def flush(self) -> None:
        """Seal the written rows, so that a server indexes them now. Call once at the end of a run."""
        name = self._target.writable_name(fresh=True)
        with self._milvus.write_lock, translate_errors(self._settings.uri_without_password):
            self._client.flush(name, timeout=WRITE_SECONDS)

    def remove(self, photo_ids: Sequence[str]) -> None:
        """Delete photos; return after Milvus has confirmed. Skip missing ids."""
        name = self._target.writable_name()
        with self._milvus.write_lock, translate_errors(self._settings.uri_without_password):
            for start in range(0, len(photo_ids), UPSERT_ROWS):
                expression = one_of("photo_id", photo_ids[start : start + UPSERT_ROWS])
                self._client.delete(name, filter=expression, timeout=WRITE_SECONDS)

    @contextmanager
    def change_listing(self, listing_id: str) -> Iterator[ListingChange]:
        """Open a listing for a change, based on its photos; this process makes no other change before this one ends.

        Raises IngestRunning, see docs/decisions/0020; CollectionReplaced, StoreFailed, StoreUnreachable.
        """
        with self._change_lock:
            name = self._target.writable_name()
            if self._target.build and self._target.builds.live().name != name:
                raise CollectionReplaced(f"The build {name} is no longer live.", hint="Try again.")
            if self._claims.is_alive(self._notes.get(CLAIM), time.monotonic()):
                raise IngestRunning(
                    "An ingest is writing to this catalogue and might undo this change.",
                    hint="Try again when it has ended: `marketlens ingest status` shows the runs.",
                )
            yield ListingChange(self, self._notes, listing_id, self._queries.listing_photos(listing_id, **STRONG))

    def bulk_load(self, settings: BulkSettings) -> "BulkLoad":
        """Return a bulk load into this collection. Raises ImportError without the extra `bulk`."""
        from catalog.store.bulk_import import BulkLoad  # noqa: PLC0415 - needs the packages of the extra `bulk`

        return BulkLoad(self._milvus, self._target.info(), settings)

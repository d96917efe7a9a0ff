"""Photos -> Milvus -> ledger, in a thread of its own: the network does not wait for either."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
    wait_exponential,
)

from catalog.collection import PhotoCollection
from catalog.errors import StoreUnreachable
from catalog.index import Embeddings
from catalog.listing import Rejected, StoredPhoto
from ingest.ledger import Line, Run, Verdict
from ingest.reading import ReadPhoto
from ingest.report import Report
from ingest.stages import Stages

# Batches that may wait for Milvus; more would only be memory.
AHEAD = 2

T = TypeVar("T")


@dataclass
class Batch:
    """Rows that are written together: `embeddings` (n, dim) are those of `new`; the others have their bytes stored."""

    new: list[ReadPhoto] = field(default_factory=list)
    embeddings: list[Embeddings] = field(default_factory=list)
    same_bytes: list[ReadPhoto] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.new) + len(self.same_bytes) + len(self.rejected)


class Patience:
    """Waits for a store that is away, for `seconds` at most; `stop` ends the waiting at once."""

    def __init__(self, seconds: float, say: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._say = say
        self.stop = threading.Event()

    def __call__(self, call: Callable[[], T]) -> T:
        """Call until the store answers. Raises StoreUnreachable when it does not in time."""
        retrying = Retrying(
            retry=retry_if_exception_type(StoreUnreachable),
            wait=wait_exponential(max=10),
            stop=stop_after_delay(self._seconds) | stop_when_event_set(self.stop),
            sleep=sleep_using_event(self.stop),
            before_sleep=self._tell,
            reraise=True,
        )
        return retrying(call)

    def _tell(self, state: RetryCallState) -> None:
        if state.attempt_number == 1:
            self._say(f"Milvus does not answer. Waiting for it, up to {self._seconds:.0f} seconds.")


class Writer:
    """Writes batches in their order, none after one that failed.

    What `put` has taken is in Milvus and in the ledger when `close` returns.
    """

    def __init__(
        self, collection: PhotoCollection | None, run: Run, report: Report, stages: Stages, patience: Patience
    ) -> None:
        """`collection` None: a dry run, which says what would be written."""
        self._collection = collection
        self._run = run
        self._report = report
        self._stages = stages
        self._patience = patience
        self._pool = ThreadPoolExecutor(1, "write")
        self._pending: deque[Future[None]] = deque()
        self._failure: BaseException | None = None
        self._started = int(time.time())

    def put(self, batch: Batch) -> None:
        """Have this batch written. Raises what went wrong with an earlier one."""
        while len(self._pending) >= AHEAD:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._write_unless_failed, batch))

    def close(self) -> None:
        """Wait until all is written. Raises what went wrong; what comes after that is not written."""
        try:
            while self._pending:
                self._pending.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def _write_unless_failed(self, batch: Batch) -> None:
        if self._failure:
            raise self._failure
        try:
            self._write(batch)
        except BaseException as error:
            self._failure = error
            raise

    def _write(self, batch: Batch) -> None:
        with self._stages.time("write"):
            _keep_dates(batch, self._started)
            updated = [row for row in batch.same_bytes if row.known and row.known.photo != row.photo]
            unchanged = [row for row in batch.same_bytes if row.known and row.known.photo == row.photo]
            if self._collection is not None:
                self._upsert(self._collection, batch, updated, unchanged)
            self._run.add(
                [
                    *_lines("written", batch.new),
                    *_lines("updated", updated),
                    *_lines("unchanged", unchanged),
                    *map(Line.of_rejected, batch.rejected),
                ]
            )
            self._report.add(embedded=len(batch.new), updated=len(updated), unchanged=len(unchanged))
            self._report.add_rejected(batch.rejected)
            self._report.add_warnings(row.photo for row in (*batch.new, *batch.same_bytes))

    def _upsert(
        self, collection: PhotoCollection, batch: Batch, updated: list[ReadPhoto], unchanged: list[ReadPhoto]
    ) -> None:
        if batch.new:
            embeddings = np.concatenate(batch.embeddings)
            self._patience(lambda: collection.upsert(_records(batch.new), embeddings))
        # The same bytes from a file of another date, say: its record learns that, or it would be read every night.
        moved = [row for row in unchanged if row.known and row.source_tag not in {"", row.known.source_tag}]
        if kept := [*updated, *moved]:
            ids = [row.photo.photo_id for row in kept]
            self._patience(lambda: collection.upsert(_records(kept), collection.embeddings(ids)))


def _keep_dates(batch: Batch, now: int) -> None:
    """Where the export does not say when something was listed, that is when it was first ingested, and stays so."""
    first: dict[str, int] = {}
    for row in (*batch.new, *batch.same_bytes):
        if row.known and (listed_at := row.known.photo.listing.listed_at) is not None:
            listing_id = row.known.photo.listing.listing_id
            first[listing_id] = min(listed_at, first.get(listing_id, listed_at))

    def dated(row: ReadPhoto) -> ReadPhoto:
        listing = row.photo.listing
        if listing.listed_at is not None:
            return row
        listing = replace(listing, listed_at=first.get(listing.listing_id, now))
        return replace(row, photo=replace(row.photo, listing=listing))

    batch.new = [dated(row) for row in batch.new]
    batch.same_bytes = [dated(row) for row in batch.same_bytes]


def _records(rows: Sequence[ReadPhoto]) -> list[StoredPhoto]:
    now = int(time.time())
    return [
        StoredPhoto(
            row.photo,
            row.sha256,
            row.known.ingested_at if row.known and row.known.photo == row.photo and row.pixels is None else now,
            row.source_tag,
        )
        for row in rows
    ]


def _lines(verdict: Verdict, rows: Sequence[ReadPhoto]) -> list[Line]:
    return [Line(row.photo.row, row.photo.photo_id, row.photo.listing.listing_id, verdict, row.sha256) for row in rows]

"""The writer: it writes batches to Milvus in a thread while the neural network embeds the next ones."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from catalog.listing import Embeddings, StoredPhoto
from catalog.stage_timer import StageTimer
from catalog.store.collection import PhotoCollection
from ingest.stages.batch import Batch, Confirmed, confirm, unchanged_rows, updated_rows
from ingest.stages.lazy_model import Model
from ingest.stages.photo_reader import ReadPhoto
from ingest.store_retry import StoreRetry

# Batches that may wait for Milvus; more would only take memory.
AHEAD = 2


class Sink(Protocol):
    """Where batches go. Everything that `write` and `finish` return is in Milvus."""

    def write(self, batch: Batch) -> Sequence[Confirmed]: ...  # noqa: D102 - the class says it

    def finish(self) -> Sequence[Confirmed]: ...  # noqa: D102


class DryRunSink:
    """Writes nothing, and reports what would be written."""

    def write(self, batch: Batch) -> Sequence[Confirmed]:
        """Return the outcome that writing would have."""
        return [confirm(batch)]

    def finish(self) -> Sequence[Confirmed]:
        """Nothing is left."""
        return []


class UpsertSink:
    """Writes each batch at once. `model` mixes a changed title into a stored vector."""

    def __init__(self, collection: PhotoCollection, retry: StoreRetry, model: Model) -> None:
        self._collection = collection
        self._retry = retry
        self._model = model

    def write(self, batch: Batch) -> Sequence[Confirmed]:
        """Write a batch. Raises what `CollectionWriter.upsert` raises."""
        if batch.new:
            embeddings = batch.vectors()
            self._retry(lambda: self._collection.writer.upsert(records(batch.new), embeddings))
        # A new source tag with the same bytes (a copied file, say) is stored, or the photo would be read every night.
        retagged = [
            row for row in unchanged_rows(batch) if row.known and row.source_tag not in {"", row.known.source_tag}
        ]
        if metadata := [*updated_rows(batch), *retagged]:
            # Read once: after an upsert whose confirmation was lost, the vectors hold the new titles already.
            vectors = self._retry(lambda: self._vectors_with_new_titles(metadata))
            self._retry(lambda: self._collection.writer.upsert(records(metadata), vectors))
        return [confirm(batch)]

    def finish(self) -> Sequence[Confirmed]:
        """Nothing is left."""
        return []

    def _vectors_with_new_titles(self, rows: Sequence[ReadPhoto]) -> Embeddings:
        vectors = self._collection.reader.embeddings([row.photo.photo_id for row in rows])
        if self._model.card.architecture.text is None:
            return vectors
        before = [row.known.photo.listing.title if row.known else "" for row in rows]
        after = [row.photo.listing.title for row in rows]
        return self._model.embedder.replace_titles(vectors, before, after)


def records(rows: Sequence[ReadPhoto]) -> list[StoredPhoto]:
    """Records of these rows. Rows whose only change is the source tag keep their date."""
    now = int(time.time())
    return [
        StoredPhoto(
            row.photo,
            row.sha256,
            row.known.ingested_at
            if row.known and (row.known.photo, row.known.sha256) == (row.photo, row.sha256)
            else now,
            row.source_tag,
        )
        for row in rows
    ]


class Writer:
    """Writes batches in order in one thread, and records each one that is confirmed. Stops at the first failure.

    When `close` returns, every batch given to `put` is written and recorded.
    """

    def __init__(self, sink: Sink, record: Callable[[Confirmed], None], timer: StageTimer) -> None:
        self.record = record
        # An engine may upsert on other machines, and only record here.
        self.takes_confirmed = isinstance(sink, UpsertSink)
        self._sink = sink
        self._timer = timer
        self._pool = ThreadPoolExecutor(1, "write")
        self._pending: deque[Future[None]] = deque()
        self._failure: BaseException | None = None

    def put(self, batch: Batch) -> None:
        """Queue a batch. Raises the error of an earlier batch."""
        while len(self._pending) >= AHEAD:
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._write, batch))

    def close(self) -> None:
        """Wait until every batch is written. Raises the first error; later batches are not written."""
        self._pending.append(self._pool.submit(self._write, None))
        try:
            while self._pending:
                self._pending.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def _write(self, batch: Batch | None) -> None:
        """Write a batch; None flushes the sink after the last one."""
        if self._failure:
            raise self._failure
        try:
            with self._timer.time("write"):
                for confirmed in self._sink.finish() if batch is None else self._sink.write(batch):
                    self.record(confirmed)
        except BaseException as error:
            self._failure = error
            raise

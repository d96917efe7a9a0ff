"""The batch command: rows of an export -> photo records in the collection. The life of one photo, in."""

import time
from collections.abc import Iterator, Sequence

import numpy as np
from more_itertools import chunked

from catalog.collection import PhotoCollection
from catalog.exports import Export
from catalog.index import Embeddings
from catalog.listing import Photo, Rejected, StoredPhoto
from catalog.progress import Advance
from catalog.settings import IngestSettings
from embedding.embedder import BATCH, Embedder
from ingest.reading import PhotoReader, ReadPhoto, one_ahead
from ingest.report import Report

ReadBatch = list[ReadPhoto | Rejected]


def ingest(
    export: Export,
    embedder: Embedder,
    collection: PhotoCollection,
    settings: IngestSettings,
    report: Report,
    advance: Advance,
) -> None:
    """Bring the collection up to date with the export, filling in the report as Milvus confirms.

    Rows whose bytes and metadata are stored already are not written, changed metadata is written without embedding
    again. `advance` is told of rows that are done with. Raises MarketlensError for what stops the run; the report
    then holds what was confirmed before.
    """
    started = time.monotonic()
    info = collection.ensure(embedder.fingerprint, embedder.dim)
    report.collection, report.model_fingerprint = info.name, info.fingerprint
    reader = PhotoReader(embedder, settings.max_photo_bytes)
    try:
        rows = chunked(export.rows(), settings.batch_size)
        for batch in one_ahead(_read_batches(rows, reader, collection)):
            _write_batch(batch, embedder, collection, report, advance)
            report.seconds = time.monotonic() - started
        if report.written:
            collection.flush()
        report.finished = True
    finally:
        reader.close()
        report.seconds = time.monotonic() - started


def _read_batches(
    rows: Iterator[list[Photo | Rejected]], reader: PhotoReader, collection: PhotoCollection
) -> Iterator[ReadBatch]:
    for batch in rows:
        known = collection.stored([row.photo_id for row in batch if isinstance(row, Photo)])
        yield reader.read(batch, known)


def _write_batch(
    batch: ReadBatch, embedder: Embedder, collection: PhotoCollection, report: Report, advance: Advance
) -> None:
    rejected = [row for row in batch if isinstance(row, Rejected)]
    photos = [row for row in batch if isinstance(row, ReadPhoto)]
    new = [row for row in photos if row.pixels is not None]
    same_bytes = [row for row in photos if row.pixels is None]
    unchanged = [row for row in same_bytes if row.known and row.known.photo == row.photo]
    updated = [row for row in same_bytes if row.known and row.known.photo != row.photo]

    report.add_rejected(rejected)
    report.add_warnings(row.photo for row in photos)
    report.add(unchanged=len(unchanged))
    advance(len(rejected) + len(unchanged))
    if updated:
        collection.upsert(_records(updated), collection.embeddings([row.photo.photo_id for row in updated]))
        report.add(updated=len(updated))
        advance(len(updated))
    if new:
        collection.upsert(_records(new), embed_in_steps(new, embedder, advance))
        report.add(embedded=len(new))


def embed_in_steps(rows: Sequence[ReadPhoto], embedder: Embedder, advance: Advance) -> Embeddings:
    """Embed (n, dim), telling `advance` after every step, so that a progress bar moves."""
    parts = []
    for step in chunked(rows, BATCH):
        parts.append(embedder.embed_pixels(np.stack([row.pixels for row in step if row.pixels is not None])))
        advance(len(step))
    return np.concatenate(parts)


def _records(rows: Sequence[ReadPhoto]) -> list[StoredPhoto]:
    now = int(time.time())
    return [StoredPhoto(row.photo, row.sha256, now) for row in rows]

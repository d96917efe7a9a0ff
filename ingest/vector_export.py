"""`marketlens embed`: an export -> Parquet with photo_id, listing_id, category and vectors. It needs no store."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from more_itertools import chunked

from catalog.atomic_files import replace_file
from catalog.errors import OutputFailed
from catalog.exports.export import Export
from catalog.listing import Photo, Rejected
from catalog.progress import Advance
from catalog.runs.report import Report
from catalog.settings import IngestSettings
from catalog.stage_timer import StageTimer
from embedding.embedder import Embedder
from ingest.stages.photo_reader import READERS, PhotoReader, ReadPhoto, pixels_of
from ingest.stages.prefetch import one_ahead


def embed_export(
    export: Export,
    embedder: Embedder,
    out: Path,
    settings: IngestSettings,
    report: Report,
    advance: Advance,
) -> None:
    """Write one row per usable photo; `embedding` is a fixed-size list of `dim` float32 with unit length.

    If the model has a text tower, `stored_embedding` is the vector that an ingest would store: photo and title. The
    file appears only when it is complete. Raises OutputFailed.
    """
    schema = pa.schema(
        [
            ("photo_id", pa.string()),
            ("listing_id", pa.string()),
            ("category", pa.string()),
            ("embedding", pa.list_(pa.float32(), embedder.dim)),
            *([("stored_embedding", pa.list_(pa.float32(), embedder.dim))] if embedder.words else []),
        ],
        metadata={"marketlens.fingerprint": embedder.fingerprint},
    )
    report.model_fingerprint = embedder.fingerprint
    started = time.monotonic()
    reader = PhotoReader(embedder.preprocess, settings.max_photo_bytes, StageTimer(), settings.network_seconds)

    def read(row: Photo | Rejected) -> ReadPhoto | Rejected:
        return row if isinstance(row, Rejected) else reader.read(row, None)

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with (
            replace_file(out) as draft,
            pq.ParquetWriter(draft, schema) as writer,
            ThreadPoolExecutor(READERS, "read") as pool,
        ):
            rows = chunked(export.rows(), settings.batch_size)
            for batch in one_ahead(list(pool.map(read, batch)) for batch in rows):
                photos = [row for row in batch if isinstance(row, ReadPhoto)]
                if photos:
                    writer.write_batch(_table(photos, embedder, schema, advance))
                report.add_rejected([row for row in batch if isinstance(row, Rejected)])
                report.add_warnings(text for row in photos for text in row.photo.warnings)
                report.add(embedded=len(photos))
                advance(len(batch) - len(photos))
        report.state = "finished"
    except OSError as error:
        raise OutputFailed(f"{out} could not be written: {error}") from error
    finally:
        report.seconds = time.monotonic() - started


def _table(photos: list[ReadPhoto], embedder: Embedder, schema: pa.Schema, advance: Advance) -> pa.RecordBatch:
    parts = []
    for step in chunked(photos, embedder.batch):
        parts.append(embedder.embed_pixels(pixels_of(step)))
        advance(len(step))
    vectors = [np.concatenate(parts)]
    if embedder.words:
        vectors.append(embedder.add_titles(vectors[0], [row.photo.listing.title for row in photos]))
    return pa.record_batch(
        [
            [row.photo.photo_id for row in photos],
            [row.photo.listing.listing_id for row in photos],
            [row.photo.listing.category for row in photos],
            *(pa.FixedSizeListArray.from_arrays(columns.reshape(-1), embedder.dim) for columns in vectors),
        ],
        schema=schema,
    )

"""`marketlens embed`: an export -> Parquet with photo_id, listing_id, category, embedding. No store involved."""

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from more_itertools import chunked

from catalog.errors import OutputFailed
from catalog.exports import Export
from catalog.listing import Rejected
from catalog.progress import Advance
from catalog.settings import IngestSettings
from embedding.embedder import Embedder
from ingest.pipeline import embed_in_steps
from ingest.reading import PhotoReader, ReadPhoto, one_ahead
from ingest.report import Report


def embed_export(
    export: Export,
    embedder: Embedder,
    out: Path,
    settings: IngestSettings,
    report: Report,
    advance: Advance,
) -> None:
    """Write one row per usable photo; `embedding` is a fixed-size list of `dim` float32, of unit length.

    The file appears when it is complete. Raises OutputFailed.
    """
    schema = pa.schema(
        [
            ("photo_id", pa.string()),
            ("listing_id", pa.string()),
            ("category", pa.string()),
            ("embedding", pa.list_(pa.float32(), embedder.dim)),
        ],
        metadata={"marketlens.fingerprint": embedder.fingerprint},
    )
    report.model_fingerprint = embedder.fingerprint
    started = time.monotonic()
    draft = out.with_name(out.name + ".part")
    reader = PhotoReader(embedder, settings.max_photo_bytes, settings.network_seconds)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(draft, schema) as writer:
            rows = chunked(export.rows(), settings.batch_size)
            for batch in one_ahead(reader.read(batch, {}) for batch in rows):
                photos = [row for row in batch if isinstance(row, ReadPhoto)]
                if photos:
                    writer.write_batch(_table(photos, embedder, schema, advance))
                report.add_rejected([row for row in batch if isinstance(row, Rejected)])
                report.add_warnings(row.photo for row in photos)
                report.add(embedded=len(photos))
                advance(len(batch) - len(photos))
        draft.replace(out)
        report.finished = True
    except OSError as error:
        raise OutputFailed(f"{out} could not be written: {error}") from error
    finally:
        reader.close()
        report.seconds = time.monotonic() - started
        draft.unlink(missing_ok=True)


def _table(photos: list[ReadPhoto], embedder: Embedder, schema: pa.Schema, advance: Advance) -> pa.RecordBatch:
    embeddings = embed_in_steps(photos, embedder, advance)
    return pa.record_batch(
        [
            [row.photo.photo_id for row in photos],
            [row.photo.listing.listing_id for row in photos],
            [row.photo.listing.category for row in photos],
            pa.FixedSizeListArray.from_arrays(embeddings.reshape(-1), embedder.dim),
        ],
        schema=schema,
    )

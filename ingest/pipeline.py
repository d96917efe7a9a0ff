"""The batch command: rows of an export -> photo records in the collection. The life of one photo, in.

    rows + look-up (a thread)  ->  read, decode (threads)  ->  embed (here)  ->  write, ledger (a thread)

Each arrow is bounded, so a slow stage holds the others back and memory stays flat.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from more_itertools import chunked
from numpy.typing import NDArray
from PIL import Image

from catalog.addresses import host_of
from catalog.collection import PhotoCollection
from catalog.exports import Export
from catalog.listing import Photo, Rejected, StoredPhoto
from catalog.progress import Advance
from catalog.settings import IngestSettings
from ingest.fetch import as_read, one_ahead
from ingest.ledger import Run
from ingest.model import Model
from ingest.reading import PhotoReader, ReadPhoto, pixels_of
from ingest.report import Report
from ingest.stages import Stages, idle_warning
from ingest.writing import Batch, Patience, Writer

# Over the network most of them wait; on this machine a few more than cores keep the network fed without crowding it.
THREADS = 32
LOCAL = 2 + (os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class LookedUp:
    """A row with what the store knows under its id."""

    row: Photo | Rejected
    known: StoredPhoto | None


def bring_up_to_date(
    export: Export,
    model: Model,
    collection: PhotoCollection | None,
    settings: IngestSettings,
    run: Run,
    report: Report,
    advance: Advance,
    patience: Patience,
    *,
    dry_run: bool,
) -> None:
    """Bring the collection up to date with the export, filling in ledger and report as Milvus confirms.

    Rows whose bytes and metadata are stored already are not written, changed metadata is written without embedding
    again; rows that the run has in its ledger are passed over. `advance` is told of rows that are done with. Raises
    MarketlensError for what stops the run; ledger and report then hold what was confirmed before. `collection` is None
    where a dry run finds none.
    """
    started = time.monotonic()
    stages = Stages()

    def preprocess(image: Image.Image) -> NDArray[np.uint8]:
        return model.embedder.preprocess(image)  # the model is loaded for the first photo that needs it

    reader = PhotoReader(preprocess, settings.max_photo_bytes, stages, settings.network_seconds)
    writer = Writer(None if dry_run else collection, run, report, stages, patience)
    done = run.rows_done()
    advance(len(done))

    def read(item: LookedUp) -> ReadPhoto | Rejected:
        return item.row if isinstance(item.row, Rejected) else reader.read(item.row, item.known)

    rows = (row for row in export.rows() if row.row not in done)
    batches = one_ahead(_look_up(chunked(rows, settings.batch_size), collection, stages, patience))
    looked_up = chain.from_iterable(batches)
    batch = Batch()
    waiting: list[ReadPhoto] = []
    try:
        for result in as_read(looked_up, read, _host, threads=THREADS, local=LOCAL, ahead=4 * settings.batch_size):
            if isinstance(result, Rejected):
                batch.rejected.append(result)
            elif result.pixels is None:
                batch.same_bytes.append(result)
            else:
                waiting.append(result)
            if waiting and len(waiting) >= min(model.embedder.batch, settings.batch_size):
                _embed(waiting, model, batch, stages, dry_run=dry_run)
                advance(len(waiting))
                waiting = []
            if len(batch) >= settings.batch_size:
                batch = _hand_over(batch, writer, advance)
            report.seconds = time.monotonic() - started
        _embed(waiting, model, batch, stages, dry_run=dry_run)
        advance(len(waiting))
    finally:
        # Also when it was stopped: what is embedded already is not thrown away.
        try:
            _hand_over(batch, writer, advance)
        finally:
            writer.close()
            report.seconds = time.monotonic() - started
            report.stage_seconds = {name: round(seconds, 2) for name, seconds in stages.seconds.items()}
    # A night on which little is new leaves the network idle, and rightly so.
    if not dry_run and report.embedded > report.read / 2:
        report.idle_warning = idle_warning(stages.seconds, report.seconds, {"read": LOCAL, "decode": LOCAL})


def _look_up(
    batches: Iterator[list[Photo | Rejected]], collection: PhotoCollection | None, stages: Stages, patience: Patience
) -> Iterator[list[LookedUp]]:
    for batch in batches:
        with stages.time("look up"):
            known = _known([row.photo_id for row in batch if isinstance(row, Photo)], collection, patience)
        yield [LookedUp(row, known.get(row.photo_id) if isinstance(row, Photo) else None) for row in batch]


def _known(ids: list[str], collection: PhotoCollection | None, patience: Patience) -> dict[str, StoredPhoto]:
    return patience(lambda: collection.stored(ids)) if collection else {}


def _embed(rows: list[ReadPhoto], model: Model, batch: Batch, stages: Stages, *, dry_run: bool) -> None:
    if not rows:
        return
    if not dry_run:
        with stages.time("embed"):
            batch.embeddings.append(model.embedder.embed_pixels(pixels_of(rows)))
    batch.new.extend(rows)


def _hand_over(batch: Batch, writer: Writer, advance: Advance) -> Batch:
    if len(batch):
        writer.put(batch)
        advance(len(batch) - len(batch.new))  # those were told of when they were embedded
    return Batch()


def _host(item: LookedUp) -> str:
    return host_of(item.row.uri) if isinstance(item.row, Photo) else ""

"""The engine of one machine.

    rows + look-up (a thread)  ->  read, decode (threads)  ->  embed (here)  ->  write, ledger (a thread)

Each arrow is bounded, so a slow stage holds the others back and memory stays flat.
"""

from collections.abc import Iterator, Mapping
from itertools import chain

from more_itertools import chunked

from ingest.pipeline import IngestJob
from ingest.stages.batch import Batch
from ingest.stages.lookup import LOCAL, RowWithStored, look_up, read_all
from ingest.stages.photo_reader import PhotoReader
from ingest.stages.prefetch import one_ahead


def run_locally(job: IngestJob) -> Mapping[str, int]:
    """Run all stages in this process."""
    size, settings = job.settings.batch_size, job.settings
    reader = PhotoReader(
        lambda image: job.model.embedder.preprocess(image),  # noqa: PLW0108 - the first photo loads the model
        settings.max_photo_bytes,
        job.timer,
        settings.network_seconds,
    )
    looked_up = chain.from_iterable(one_ahead(_look_up_batches(job)))
    batch = Batch()
    try:
        for result in read_all(looked_up, reader, ahead=2 * size):
            batch.add(result)
            # `embedder` only if a photo is waiting: loading the model takes seconds.
            if batch.waiting and (len(batch) >= size or len(batch.waiting) >= job.model.embedder.batch):
                _embed(batch, job)
            if len(batch) >= size:
                full, batch = batch, Batch()
                _put(full, job)
        _embed(batch, job)
    finally:
        batch.waiting = []  # if the run was stopped, the next one embeds these
        if len(batch):
            _put(batch, job)
    return {"read": LOCAL, "decode": LOCAL}


def _look_up_batches(job: IngestJob) -> Iterator[list[RowWithStored]]:
    for rows in chunked(job.export.rows(skip=job.done), job.settings.batch_size):
        with job.timer.time("look up"):
            yield look_up(rows, job.target, job.retry, job.started_at)


def _embed(batch: Batch, job: IngestJob) -> None:
    if batch.waiting:
        with job.timer.time("embed"):
            count = batch.embed(None if job.options.dry_run else job.model)
        job.advance(count)


def _put(batch: Batch, job: IngestJob) -> None:
    job.writer.put(batch)
    job.advance(len(batch.same_bytes) + len(batch.rejected))  # embedded rows have advanced the bar already

"""The engine of one machine.

    rows + look-up (a thread)  ->  read, decode (threads)  ->  embed (here)  ->  write, ledger (a thread)

Each arrow is bounded, so a slow stage holds the others back and memory stays flat.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

import numpy as np
from more_itertools import chunked
from numpy.typing import NDArray
from PIL import Image

from catalog.listing import Photo, Rejected
from ingest.pipeline import Work
from ingest.stages.batch import Batch
from ingest.stages.lookup import LOCAL, LookedUp, look_up, read_all
from ingest.stages.photo_reader import PhotoReader
from ingest.stages.prefetch import one_ahead


def run_locally(work: Work) -> Mapping[str, int]:
    """Do all the work in this process."""

    def preprocess(image: Image.Image) -> NDArray[np.uint8]:
        return work.model.embedder.preprocess(image)  # the model is loaded for the first photo that needs it

    size = work.settings.batch_size
    reader = PhotoReader(preprocess, work.settings.max_photo_bytes, work.stages, work.settings.network_seconds)
    looked_up = chain.from_iterable(one_ahead(_looked_up(chunked(work.rows(), size), work)))
    batch = Batch()
    try:
        for result in read_all(looked_up, reader, ahead=2 * size):
            batch.add(result)
            # The model is asked only once there is something to embed: it takes seconds to load.
            if batch.waiting and (len(batch) >= size or len(batch.waiting) >= work.model.embedder.batch):
                _embed(batch, work)
            if len(batch) >= size:
                full, batch = batch, Batch()
                _put(full, work)
        _embed(batch, work)
    finally:
        batch.waiting = []  # of a run that was stopped: left to the next one
        if len(batch):
            _put(batch, work)
    return {"read": LOCAL, "decode": LOCAL}


def _looked_up(batches: Iterable[list[Photo | Rejected]], work: Work) -> Iterator[list[LookedUp]]:
    for batch in batches:
        with work.stages.time("look up"):
            yield look_up(batch, work.collection, work.patience, work.now)


def _embed(batch: Batch, work: Work) -> None:
    if not batch.waiting:
        return
    with work.stages.time("embed"):
        count = batch.embed(None if work.dry_run else work.model)
    work.advance(count)


def _put(batch: Batch, work: Work) -> None:
    work.writer.put(batch)
    work.advance(len(batch.same_bytes) + len(batch.rejected))  # the others were told of when they were embedded

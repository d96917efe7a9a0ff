"""Embed photos of concurrent requests in batches: a batch of 16 takes far less time than 16 batches of one."""

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from catalog.listing import Embeddings
from catalog.settings import ApiSettings
from embedding.embedder import Embedder, Pixels
from search_api.serving.stage import Stage, limit_time, refuse
from search_api.telemetry.metrics import Metrics

# Milvus answers a few requests at a time; more of them would wait there instead of here, where they are counted.
_STORE_THREADS = 16
# Concurrent requests to hosts of photos. These threads only wait for the network.
_PHOTO_THREADS = 16


@dataclass(slots=True, eq=False)
class _Job:
    pixels: Pixels
    done: asyncio.Future[Embeddings]


class EmbedQueue:
    """The stage `embed` of one model. For one event loop.

    No request waits for a batch to fill: a free engine takes the photos that are waiting.
    """

    def __init__(self, embedder: Embedder, waiting: int, seconds: float, metrics: Metrics) -> None:
        """At most `waiting` photos wait for the engine. Waiting and embedding may take at most `seconds`."""
        self._embedder = embedder
        self._max_waiting = waiting
        self._seconds = seconds
        self._metrics = metrics
        self._jobs: deque[_Job] = deque()
        self._engine = ThreadPoolExecutor(1, "embed")
        self._busy = False

    @property
    def depth(self) -> int:
        """Number of photos that wait."""
        return sum(len(job.pixels) for job in self._jobs)

    async def run(self, pixels: Pixels) -> Embeddings:
        """Embed uint8 (n, 3, size, size) as float32 (n, dim), as `Embedder.embed_pixels` does.

        Raises Overloaded, StageTooSlow. Photos that still wait when their request is cancelled or times out are not
        embedded.
        """
        # A request may be larger than the queue if it is the only one.
        if self._jobs and self.depth + len(pixels) > self._max_waiting:
            raise refuse("embed", self._metrics)
        job = _Job(pixels, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._metrics.waiting.inc(len(pixels))
        if not self._busy:
            self._start_batch()
        try:
            async with limit_time("embed", self._seconds, self._metrics):
                return await job.done
        finally:
            if job in self._jobs:
                self._dequeue(job)

    def close(self) -> None:
        """Shut the engine's thread down."""
        self._engine.shutdown(wait=False, cancel_futures=True)

    def _start_batch(self) -> None:
        batch: list[_Job] = []
        photos = 0
        while self._jobs and (not batch or photos + len(self._jobs[0].pixels) <= self._embedder.batch):
            batch.append(self._dequeue(self._jobs[0]))
            photos += len(batch[-1].pixels)
        self._busy = bool(batch)
        if batch:
            self._metrics.batch_photos.observe(photos)
            pixels = batch[0].pixels if len(batch) == 1 else np.concatenate([job.pixels for job in batch])
            call = asyncio.get_running_loop().run_in_executor(self._engine, self._embedder.embed_pixels, pixels)
            call.add_done_callback(partial(self._finish, batch))

    def _dequeue(self, job: _Job) -> _Job:
        self._jobs.remove(job)
        self._metrics.waiting.dec(len(job.pixels))
        return job

    def _finish(self, batch: Sequence[_Job], call: asyncio.Future[Embeddings]) -> None:
        # Start the next batch first: the engine must not idle while results are handed out.
        self._start_batch()
        start = 0
        for job in batch:
            stop = start + len(job.pixels)
            if job.done.done():
                pass  # no request waits for it any more
            elif call.cancelled():
                job.done.cancel()
            elif error := call.exception():
                job.done.set_exception(error)
            else:
                job.done.set_result(call.result()[start:stop])
            start = stop


@dataclass(frozen=True, slots=True)
class ServingStages:
    """The stages of a response: `decode`, `store` and `photos` run functions, `embed` takes pixels.

    `photos` reads photos of the catalogue from the places they were ingested from: a host that hangs blocks only these
    threads.
    """

    decode: Stage
    embed: EmbedQueue
    store: Stage
    photos: Stage


class StageFactory:
    """Makes the stages of each model that the service loads. All models share the threads of all stages but `embed`."""

    def __init__(self, settings: ApiSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        waiting = settings.waiting
        self._decode = Stage("decode", os.cpu_count() or 1, waiting, settings.decode_seconds, metrics)
        self._store = Stage("store", _STORE_THREADS, waiting, settings.store_seconds, metrics)
        self._photos = Stage("photos", _PHOTO_THREADS, waiting, settings.photo_seconds, metrics)

    def of(self, embedder: Embedder) -> ServingStages:
        """Return the stages of one model."""
        embed = EmbedQueue(embedder, self._settings.waiting, self._settings.embed_seconds, self._metrics)
        return ServingStages(self._decode, embed, self._store, self._photos)

    def close(self) -> None:
        """Shut the shared threads down."""
        self._decode.close()
        self._store.close()
        self._photos.close()

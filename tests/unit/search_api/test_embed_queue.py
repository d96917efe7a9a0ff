"""Serving stages: batched, bounded, with timeouts, and without work for disconnected clients."""

import asyncio
import threading
import time

import numpy as np
import pytest

from search_api.serving.stage import Overloaded, StageTooSlow
from tests.support.data.models import FakeEngine, GatedEngine, fake_embedder
from tests.support.data.pictures import picture
from tests.support.stages import make_stages


@pytest.fixture
def gated() -> GatedEngine:
    return GatedEngine()


def pixels(seed: int, photos: int = 1) -> np.ndarray:
    return np.stack([fake_embedder().preprocess(picture(seed + number)) for number in range(photos)])


async def began(engine: GatedEngine) -> None:
    assert await asyncio.to_thread(engine.began.wait, 30)


def test_waiting_photos_are_embedded_together(gated: GatedEngine) -> None:
    """The first photo runs alone; those that arrive meanwhile form a batch; each request gets its own embeddings."""
    stages, metrics = make_stages(gated)

    async def run() -> None:
        first = asyncio.create_task(stages.embed.run(pixels(0)))
        await began(gated)
        others = [asyncio.create_task(stages.embed.run(pixels(10 * n, n))) for n in (1, 2, 3)]
        await asyncio.sleep(0.05)
        assert stages.embed.depth == 6
        gated.release.set()
        for task, (seed, count) in zip([first, *others], [(0, 1), (10, 1), (20, 2), (30, 3)], strict=True):
            expected = fake_embedder().embed([picture(seed + number) for number in range(count)])
            np.testing.assert_allclose(await task, expected, atol=1e-6)

    asyncio.run(run())
    assert gated.batches == [1, 6]
    assert "marketlens_waiting_photos 0.0" in metrics.render().decode()
    assert "marketlens_batch_photos_sum 7.0" in metrics.render().decode()


def test_a_batch_is_no_larger_than_the_engines(gated: GatedEngine) -> None:
    """Forty waiting photos take two batches of at most 32."""
    stages, _ = make_stages(gated)

    async def run() -> None:
        tasks = [asyncio.create_task(stages.embed.run(pixels(0))) for _ in range(41)]
        await began(gated)
        gated.release.set()
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert gated.batches == [1, 32, 8]


def test_a_full_queue_refuses(gated: GatedEngine) -> None:
    """A full queue refuses further photos at once; an empty queue accepts a request of any size."""
    stages, metrics = make_stages(gated, waiting=2)

    async def run() -> None:
        tasks = [asyncio.create_task(stages.embed.run(pixels(0, 5)))]
        await began(gated)
        tasks += [asyncio.create_task(stages.embed.run(pixels(n))) for n in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded):
            await stages.embed.run(pixels(3))
        gated.release.set()
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert gated.batches == [5, 2]
    assert 'marketlens_rejected_requests_total{reason="embed_full"} 1.0' in metrics.render().decode()


def test_cancelled_photos_are_not_embedded(gated: GatedEngine) -> None:
    """Waiting photos of a cancelled request are dropped; those of other requests are not."""
    stages, _ = make_stages(gated)

    async def run() -> None:
        first = asyncio.create_task(stages.embed.run(pixels(0)))
        await began(gated)
        cancelled, waiting = (asyncio.create_task(stages.embed.run(pixels(n))) for n in (1, 2))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        await asyncio.sleep(0.05)
        assert stages.embed.depth == 1
        gated.release.set()
        await asyncio.gather(first, waiting)

    asyncio.run(run())
    assert gated.batches == [1, 1]


def test_embedding_ends_in_time(gated: GatedEngine) -> None:
    """A stuck engine blocks a request no longer than the timeout; once it recovers, it serves the next."""
    stages, metrics = make_stages(gated, embed_seconds=0.2)

    async def run() -> None:
        stuck = asyncio.create_task(stages.embed.run(pixels(0)))
        await began(gated)
        started = time.perf_counter()
        with pytest.raises(StageTooSlow, match="embed"):
            await stages.embed.run(pixels(1))
        assert time.perf_counter() - started < 2
        with pytest.raises(StageTooSlow):
            await stuck
        gated.release.set()
        await stages.embed.run(pixels(2))

    asyncio.run(run())
    assert gated.batches == [1, 1]
    assert 'reason="embed_too_slow"} 2.0' in metrics.render().decode()


def test_an_engine_that_fails_once() -> None:
    """The requests of the failed batch get the error; the next batch is embedded."""

    class Failing(FakeEngine):
        def run(self, pixels):
            self.photos += 1
            if self.photos == 1:
                raise RuntimeError("out of memory")
            return super().run(pixels)

    stages, _ = make_stages(Failing())

    async def run() -> None:
        with pytest.raises(RuntimeError, match="out of memory"):
            await stages.embed.run(pixels(0))
        await stages.embed.run(pixels(1))

    asyncio.run(run())


@pytest.mark.parametrize("name", ["decode", "store", "photos"])
def test_threads_are_bounded_and_timed(name: str) -> None:
    """Each threaded stage limits running and waiting calls and their time; cancelled waiting calls never run."""
    stages, metrics = make_stages(FakeEngine(), waiting=3, decode_seconds=0.3, store_seconds=0.3, photo_seconds=0.3)
    stage = getattr(stages, name)
    release, ran = threading.Event(), []

    def work(number: int) -> None:
        ran.append(number)
        release.wait(10)

    async def run() -> None:
        capacity = stage._capacity
        tasks = [asyncio.create_task(stage.run(lambda n=n: work(n))) for n in range(capacity)]
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded, match=name):
            await stage.run(lambda: work(-1))
        tasks[-1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results[:-1]} == {StageTooSlow}
        release.set()
        assert await stage.run(lambda: 7) == 7
        assert sorted(ran) == list(range(capacity - 3))

    asyncio.run(run())
    assert f'reason="{name}_full"}} 1.0' in metrics.render().decode()

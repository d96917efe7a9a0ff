"""A stage of an answer: threads of its own, so many requests waiting for them, and a time limit."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import TypeVar

from catalog.errors import MarketlensError
from search_api.telemetry.metrics import Metrics
from search_api.telemetry.timing import stage

T = TypeVar("T")


class Overloaded(MarketlensError):
    """More requests wait for a stage than it takes."""

    code = "overloaded"


class StageTooSlow(MarketlensError):
    """A stage did not end within its time."""

    code = "too_slow"


class Stage:
    """Work of one kind, in threads of its own. For one event loop."""

    def __init__(self, name: str, threads: int, waiting: int, seconds: float, metrics: Metrics) -> None:
        """At most `waiting` requests wait for one of the `threads`; none is held for more than `seconds`."""
        self._name = name
        self._room = threads + waiting
        self._seconds = seconds
        self._metrics = metrics
        self._inside = 0
        self._threads = ThreadPoolExecutor(threads, name)

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work in a thread. Raises Overloaded, StageTooSlow, and what the work raises.

        Work that has not begun when its request is cancelled, or its time is over, never begins.
        """
        if self._inside >= self._room:
            raise full(self._name, self._metrics)
        self._inside += 1
        try:
            async with within(self._name, self._seconds, self._metrics):
                return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, work)
        finally:
            self._inside -= 1

    def close(self) -> None:
        """Let the threads end; what has not begun never does."""
        self._threads.shutdown(wait=False, cancel_futures=True)


@asynccontextmanager
async def within(name: str, seconds: float, metrics: Metrics) -> AsyncIterator[None]:
    """Time a stage, and end it when its time is over. Raises StageTooSlow."""
    limit = asyncio.timeout(seconds)
    try:
        with stage(name):
            async with limit:
                yield
    except TimeoutError as error:
        if not limit.expired():
            raise  # somebody else's
        metrics.rejected.labels(f"{name}_too_slow").inc()
        raise StageTooSlow(
            f"The answer took more than {seconds:g} s in the stage {name}.", hint="Try again in a moment."
        ) from error


def full(name: str, metrics: Metrics) -> Overloaded:
    """Count the refusal and word it."""
    metrics.rejected.labels(f"{name}_full").inc()
    return Overloaded(
        f"Too many requests wait for the stage {name}.", hint="Try again after the seconds that Retry-After says."
    )

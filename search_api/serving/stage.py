"""A stage of a response: a thread pool with a bounded queue and a time limit."""

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
    """Too many requests wait for a stage."""

    code = "overloaded"


class StageTooSlow(MarketlensError):
    """A stage exceeded its time limit."""

    code = "too_slow"


class Stage:
    """A thread pool for one kind of work. For one event loop."""

    def __init__(self, name: str, threads: int, waiting: int, seconds: float, metrics: Metrics) -> None:
        """At most `waiting` requests wait for one of the `threads`; none takes more than `seconds` in the stage."""
        self._name = name
        self._capacity = threads + waiting
        self._seconds = seconds
        self._metrics = metrics
        self._requests = 0
        self._threads = ThreadPoolExecutor(threads, name)

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work in a thread. Raises Overloaded, StageTooSlow, and what the work raises.

        Work that has not started when its request is cancelled or times out never starts.
        """
        if self._requests >= self._capacity:
            raise refuse(self._name, self._metrics)
        self._requests += 1
        try:
            async with limit_time(self._name, self._seconds, self._metrics):
                return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, work)
        finally:
            self._requests -= 1

    def close(self) -> None:
        """Shut the threads down; work that has not started never starts."""
        self._threads.shutdown(wait=False, cancel_futures=True)


@asynccontextmanager
async def limit_time(name: str, seconds: float, metrics: Metrics) -> AsyncIterator[None]:
    """Measure the time of a stage, and end it after `seconds`. Raises StageTooSlow."""
    limit = asyncio.timeout(seconds)
    try:
        with stage(name):
            async with limit:
                yield
    except TimeoutError as error:
        if not limit.expired():
            raise  # a timeout of other code
        metrics.rejected.labels(f"{name}_too_slow").inc()
        raise StageTooSlow(
            f"The response took more than {seconds:g} s in the stage {name}.", hint="Try again in a moment."
        ) from error


def refuse(name: str, metrics: Metrics) -> Overloaded:
    """Count a refused request and return the error to raise."""
    metrics.rejected.labels(f"{name}_full").inc()
    return Overloaded(
        f"Too many requests wait for the stage {name}.", hint="Try again after the seconds in Retry-After."
    )

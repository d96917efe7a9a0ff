"""The time a request spends in each stage, for the response, the log line, the metrics and the trace."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field

from search_api.schemas import Timings


@dataclass(slots=True)
class RequestTime:
    """When a request arrived (perf_counter), and its seconds per stage, including queues."""

    started: float = field(default_factory=time.perf_counter)
    stages: dict[str, float] = field(default_factory=dict)


# One per request, shared by its tasks and threads; None outside a request.
_request: ContextVar[RequestTime | None] = ContextVar("request_time", default=None)


def _no_span(_: str) -> AbstractContextManager[object]:
    return nullcontext()


span: Callable[[str], AbstractContextManager[object]] = _no_span
"""Opens a span around a stage; `search_api.telemetry.tracing` replaces it if tracing is on."""


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the time spent inside to this stage of the request."""
    started = time.perf_counter()
    try:
        with span(name):
            yield
    finally:
        if (request := _request.get()) is not None:
            request.stages[name] = request.stages.get(name, 0.0) + time.perf_counter() - started


def start_request() -> RequestTime:
    """Start timing the request that this task handles."""
    request = RequestTime()
    _request.set(request)
    return request


def timings() -> Timings:
    """Return the milliseconds that the request has taken so far, in total and per stage."""
    request = _request.get() or RequestTime()
    stage_ms = {name: 1000 * seconds for name, seconds in request.stages.items()}
    return Timings(
        read=stage_ms.get("read", 0.0),
        decode=stage_ms.get("decode", 0.0),
        embed=stage_ms.get("embed", 0.0),
        search=stage_ms.get("store", 0.0),
        total=1000 * (time.perf_counter() - request.started),
    )

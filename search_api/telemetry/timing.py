"""Where a request spends its time: the same stages in the response, the log line, the metrics and the trace."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field

from search_api.schemas import Timings


@dataclass(slots=True)
class RequestTime:
    """When a request arrived (perf_counter), and the seconds that it has spent per stage, queues included."""

    started: float = field(default_factory=time.perf_counter)
    stages: dict[str, float] = field(default_factory=dict)


# One per request, filled in from any of its tasks and threads; outside of a request there is none.
_request: ContextVar[RequestTime | None] = ContextVar("request_time", default=None)


def _no_span(_: str) -> AbstractContextManager[object]:
    return nullcontext()


span: Callable[[str], AbstractContextManager[object]] = _no_span
"""Opens a span around a stage; `search_api.telemetry.tracing` puts its own here when traces are wanted."""


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count what happens within towards this stage of the request."""
    started = time.perf_counter()
    try:
        with span(name):
            yield
    finally:
        if (request := _request.get()) is not None:
            request.stages[name] = request.stages.get(name, 0.0) + time.perf_counter() - started


def begin() -> RequestTime:
    """Start counting for the request that this task answers."""
    request = RequestTime()
    _request.set(request)
    return request


def timings() -> Timings:
    """Milliseconds that the request has spent until now, in all and per stage."""
    request = _request.get() or RequestTime()
    spent = {name: 1000 * seconds for name, seconds in request.stages.items()}
    return Timings(
        read=spent.get("read", 0.0),
        decode=spent.get("decode", 0.0),
        embed=spent.get("embed", 0.0),
        search=spent.get("store", 0.0),
        total=1000 * (time.perf_counter() - request.started),
    )

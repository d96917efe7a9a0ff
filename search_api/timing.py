"""Where a request spends its time. Its stages end up in the answer, the log line, the metrics and the trace alike."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

# One per request, filled in from any of its tasks and threads; outside of a request there is none.
_spent: ContextVar[dict[str, float] | None] = ContextVar("spent", default=None)


def _no_span(_: str) -> AbstractContextManager[object]:
    return nullcontext()


span: Callable[[str], AbstractContextManager[object]] = _no_span
"""Opens a span around a stage; `search_api.tracing` puts its own here when traces are wanted."""


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count what happens within towards this stage of the request."""
    started = time.perf_counter()
    try:
        with span(name):
            yield
    finally:
        if (spent := _spent.get()) is not None:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - started


def begin() -> dict[str, float]:
    """Start counting for the request that this task answers; gives the seconds per stage, as they come."""
    spent: dict[str, float] = {}
    _spent.set(spent)
    return spent


def spent_ms() -> dict[str, float]:
    """Milliseconds that the request has spent in each stage until now, waiting for its turn included."""
    return {name: 1000 * seconds for name, seconds in (_spent.get() or {}).items()}

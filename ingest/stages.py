"""How long each stage worked, and which one keeps the network waiting."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

IDLE_SHARE = 0.5
_WORTH_SAYING_SECONDS = 30.0


class Stages:
    """Seconds of work per stage, of all threads together. Safe for threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count what happens inside as this stage's work."""
        started = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


def idle_warning(seconds: dict[str, float], wall: float, threads: dict[str, int]) -> str:
    """Say which stage starves the network, where it was idle for more than half of `wall` seconds; '' otherwise.

    `threads` is how many threads a stage has, one where it is not named: what is busy most of its time is the narrow
    place.
    """
    embedding = seconds.get("embed", 0.0)
    if wall < _WORTH_SAYING_SECONDS or embedding > IDLE_SHARE * wall:
        return ""
    busy = {name: spent / threads.get(name, 1) for name, spent in seconds.items() if name != "embed"}
    starver = max(busy, key=lambda name: busy[name])
    return (
        f"The network was idle for {1 - embedding / wall:.0%} of the run. It waited for the stage {starver!r}, "
        f"which was busy for {busy[starver] / wall:.0%} of it."
    )

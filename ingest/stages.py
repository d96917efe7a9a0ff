"""How long each stage worked, and which one keeps the network waiting."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

IDLE_SHARE = 0.5
_WORTH_SAYING_SECONDS = 30.0


class Stages:
    """Seconds of work per stage, of all threads together. Safe for threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, seconds: Mapping[str, float]) -> None:
        """Count work that was timed elsewhere."""
        with self._lock:
            for stage, spent in seconds.items():
                self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def take(self) -> dict[str, float]:
        """What was counted since the last time."""
        with self._lock:
            taken, self.seconds = self.seconds, {}
        return taken

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count what happens inside as this stage's work."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add({stage: time.perf_counter() - started})


def idle_warning(seconds: Mapping[str, float], wall: float, threads: Mapping[str, int]) -> str:
    """Say which stage starves the network, where it was idle for more than half of `wall` seconds; '' otherwise.

    `threads` is how many threads a stage has, one where it is not named: what is busy most of its time is the narrow
    place.
    """
    busy = {name: spent / threads.get(name, 1) for name, spent in seconds.items()}
    embedding = busy.pop("embed", 0.0)
    if wall < _WORTH_SAYING_SECONDS or embedding > IDLE_SHARE * wall:
        return ""
    starver = max(busy, key=lambda name: busy[name])
    return (
        f"The network was idle for {1 - embedding / wall:.0%} of the run. It waited for the stage {starver!r}, "
        f"which was busy for {busy[starver] / wall:.0%} of it."
    )

"""A timer of the stages of a long job."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class StageTimer:
    """Sums the seconds of work per stage over all threads. Thread-safe."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add work that was timed elsewhere."""
        with self._lock:
            for stage, spent in seconds.items():
                self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def take(self) -> dict[str, float]:
        """Return the seconds counted since the last call, and reset them."""
        with self._lock:
            taken, self.seconds = self.seconds, {}
        return taken

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count the duration of the block as this stage's work."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add({stage: time.perf_counter() - started})

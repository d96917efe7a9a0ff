"""Wait for a condition."""

import time
from collections.abc import Callable


def until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds, at most five minutes."""
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)

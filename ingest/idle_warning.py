"""A warning for runs in which the neural network mostly waited for another stage."""

from collections.abc import Mapping

IDLE_SHARE = 0.5
_MIN_SECONDS = 30.0


def idle_warning(seconds: Mapping[str, float], wall: float, threads: Mapping[str, int]) -> str:
    """Name the bottleneck if the neural network was idle for more than half of `wall` seconds; '' otherwise.

    `seconds` are those of all threads of a stage together, `threads` its number of threads (1 if not named): the stage
    that is busy most of its time is the bottleneck.
    """
    busy = {name: spent / threads.get(name, 1) for name, spent in seconds.items()}
    embedding = busy.pop("embed", 0.0)
    if wall < _MIN_SECONDS or embedding > IDLE_SHARE * wall:
        return ""
    slowest = max(busy, key=lambda name: busy[name])
    return (
        f"The network was idle for {1 - embedding / wall:.0%} of the run. It waited for the stage {slowest!r}, "
        f"which was busy for {busy[slowest] / wall:.0%} of it."
    )

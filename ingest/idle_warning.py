"""A warning for runs in which the network mostly waited for another stage."""

from collections.abc import Mapping

IDLE_SHARE = 0.5
_WORTH_SAYING_SECONDS = 30.0


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

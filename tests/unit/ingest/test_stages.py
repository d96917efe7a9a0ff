"""The time of each stage, and the warning about an idle network."""

import pytest

from catalog.stage_timer import StageTimer
from ingest.idle_warning import idle_warning


def test_failed_stages_count_too() -> None:
    """The time that a stage spent before an error counts as well."""
    stages = StageTimer()
    with stages.time("read"):
        pass
    first = stages.seconds["read"]
    with pytest.raises(ZeroDivisionError), stages.time("read"):
        1 / 0  # noqa: B018
    assert stages.seconds["read"] > first > 0


@pytest.mark.parametrize(
    ("seconds", "wall", "bottleneck"),
    [
        ({"embed": 60.0, "read": 90.0}, 100.0, None),
        ({"embed": 40.0, "read": 90.0, "decode": 200.0, "write": 30.0}, 100.0, "'decode'"),
        ({"embed": 40.0, "read": 90.0, "decode": 100.0, "write": 80.0}, 100.0, "'write'"),
        ({"embed": 1.0, "read": 20.0}, 20.0, None),
    ],
    ids=["busy", "decode", "write", "too short to tell"],
)
def test_the_slowest_stage_is_named(seconds: dict[str, float], wall: float, bottleneck: str | None) -> None:
    """If the network was idle for more than half of the run, a warning names the stage with the busiest threads."""
    warning = idle_warning(seconds, wall, {"read": 4, "decode": 2})
    assert (bottleneck in warning) if bottleneck else not warning

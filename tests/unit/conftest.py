"""A unit test runs in one process: a test that starts another process fails, and belongs in tests/commands."""

import sys
from collections.abc import Iterator

import pytest

STARTS = {
    "subprocess.Popen",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
}


class Guard:
    """Refuses to start a process while a unit test runs. It stays installed: Python cannot remove an audit hook."""

    def __init__(self) -> None:
        self.on = False
        self.refused: list[str] = []

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.on and event in STARTS:
            start = f"{event}{arguments[:2]!r:.200}"
            self.refused.append(start)
            raise AssertionError(f"A unit test must not start a process: {start}. Move the test to tests/commands.")


GUARD = Guard()
sys.addaudithook(GUARD)


@pytest.fixture(autouse=True)
def one_process() -> Iterator[None]:
    """Refuse to start processes, and fail the test even if the code swallowed the error or ran in another thread."""
    GUARD.refused.clear()
    GUARD.on = True
    yield
    GUARD.on = False
    assert not GUARD.refused, f"A unit test must not start a process: {GUARD.refused}. Move it to tests/commands."

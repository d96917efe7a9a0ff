"""A unit test runs in one process: one that starts another fails, and belongs to tests/commands."""

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
    """Refuses every start of a process while a unit test runs. Python has no way to take an audit hook off again."""

    def __init__(self) -> None:
        self.on = False
        self.refused: list[str] = []

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.on and event in STARTS:
            what = f"{event}{arguments[:2]!r:.200}"
            self.refused.append(what)
            raise AssertionError(f"A unit test starts no second process: {what}. Move the test to tests/commands.")


GUARD = Guard()
sys.addaudithook(GUARD)


@pytest.fixture(autouse=True)
def one_process() -> Iterator[None]:
    """Refuse, and fail where the code under test swallowed the refusal, in another thread as well."""
    GUARD.refused.clear()
    GUARD.on = True
    yield
    GUARD.on = False
    assert not GUARD.refused, f"A unit test starts no second process: {GUARD.refused}. Move the test to tests/commands."

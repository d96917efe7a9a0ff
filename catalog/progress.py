"""Progress bars: how long-running work reports its progress."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Advance = Callable[[int], None]
"""Advances a bar by a number of photos."""
Progress = Callable[[str, int], AbstractContextManager[Advance]]
"""Title and number of photos -> a context that shows a bar and yields the function that advances it."""


def silent(_title: str, _total: int) -> AbstractContextManager[Advance]:
    """Show no bar."""
    return nullcontext(lambda _: None)

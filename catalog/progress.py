"""How long work tells the one who waits for it, whoever that is."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Advance = Callable[[int], None]
"""Moves a bar by so many photos."""
Progress = Callable[[str, int], AbstractContextManager[Advance]]
"""Title and number of photos -> a bar, and the function that moves it."""


def silent(_title: str, _total: int) -> AbstractContextManager[Advance]:
    """No bar, where nobody waits."""
    return nullcontext(lambda _: None)

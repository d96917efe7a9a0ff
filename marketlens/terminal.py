"""What a person sees: progress bars, tables, errors without tracebacks."""

import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from catalog.errors import (
    BuildRefused,
    ExportUnreadable,
    InvalidFilter,
    InvalidSetting,
    MarketlensError,
    ModelMismatch,
    ModelMissing,
    NotFound,
    PhotoUnusable,
)
from catalog.progress import Advance

# What was asked for is wrong; everything else (Milvus, disk, model file) is the surroundings' fault.
_USAGE_ERRORS = (
    BuildRefused,
    ExportUnreadable,
    InvalidFilter,
    InvalidSetting,
    ModelMismatch,
    ModelMissing,
    NotFound,
    PhotoUnusable,
)
EXIT_REJECTED, EXIT_USAGE, EXIT_SURROUNDINGS = 1, 2, 3

out = Console()


def fail(error: MarketlensError) -> int:
    """Print what is wrong and how to mend it; give the exit status."""
    console = Console(stderr=True, soft_wrap=True)
    console.print(Text("Error: ", style="bold red") + Text(error.message, style="default"))
    if error.hint:
        console.print(Text("Hint:  ", style="bold") + Text(error.hint, style="default"))
    return EXIT_USAGE if isinstance(error, _USAGE_ERRORS) else EXIT_SURROUNDINGS


def is_memory_short(error: Exception) -> bool:
    """Whether memory was refused. Libraries say so with errors of their own, ONNX Runtime and torch in words alone."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return bool(re.search(r"allocate memory|out of memory|not enough memory", str(error), re.IGNORECASE))


@contextmanager
def progress(title: str, total: int, unit: str = "photos") -> Iterator[Advance]:
    """Show a bar with photos/s and time left on stderr; yields the function that moves it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # speed_estimate_period: a batch takes seconds, and the default forgets what is older than half a minute.
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=120) as bar:
        task = bar.add_task(title, total=total)

        def advance(count: int) -> None:
            bar.advance(task, count)
            # Rows that could not even be counted as photos are rows as well.
            bar.update(task, total=max(total, bar.tasks[task].completed))

        yield advance


def say(line: str) -> None:
    """Print to stderr, above a bar where there is one."""
    print(line, file=sys.stderr)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Make SIGTERM end the work as Ctrl-C does: in order, with a report."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Speed(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {self._unit}/s" if speed else f"… {self._unit}/s")


# FAISS' advice about training points, for every small segment that Milvus Lite indexes.
FAISS_ADVICE = b"WARNING clustering"
# Of Ray's core, for every pool of actors that Ray Data makes.
RAY_ADVICE = b"has constructor arguments in the object store"


def hush(advice: bytes) -> None:
    """Drop lines with these words, which a library prints past Python, from a background thread perhaps.

    The process's stderr goes through a pipe from here on. Python's own `sys.stderr` keeps the terminal.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    sys.stderr = os.fdopen(terminal, "w", buffering=1, errors="backslashreplace")
    reader, writer = os.pipe()
    os.dup2(writer, 2)
    os.close(writer)

    def forward() -> None:
        with os.fdopen(reader, "rb") as lines:
            for line in lines:
                if advice not in line:
                    os.write(terminal, line)

    threading.Thread(target=forward, daemon=True, name="stderr").start()

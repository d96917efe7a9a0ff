"""Output for the terminal: progress bars, messages, errors without tracebacks."""

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

# Errors of the request; all others (Milvus, disk, model file) are failures of the environment.
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
EXIT_REJECTED, EXIT_USAGE, EXIT_ENVIRONMENT = 1, 2, 3

out = Console()


def fail(error: MarketlensError) -> int:
    """Print an error with its hint; return the exit status."""
    console = Console(stderr=True, soft_wrap=True)
    console.print(Text("Error: ", style="bold red") + Text(error.message, style="default"))
    if error.hint:
        console.print(Text("Hint:  ", style="bold") + Text(error.hint, style="default"))
    return EXIT_USAGE if isinstance(error, _USAGE_ERRORS) else EXIT_ENVIRONMENT


def is_memory_short(error: Exception) -> bool:
    """Return whether an error means too little memory. ONNX Runtime and torch say so only in their messages."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return bool(re.search(r"allocate memory|out of memory|not enough memory", str(error), re.IGNORECASE))


@contextmanager
def progress(title: str, total: int, unit: str = "photos") -> Iterator[Advance]:
    """Show a bar with photos/s and the time left on stderr; yield the function that advances it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # speed_estimate_period: a batch takes seconds, and by default only the last 30 seconds count.
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=120) as bar:
        task = bar.add_task(title, total=total)

        def advance(count: int) -> None:
            bar.advance(task, count)
            # Malformed rows are not in `total`, but they advance the bar too.
            bar.update(task, total=max(total, bar.tasks[task].completed))

        yield advance


def say(line: str) -> None:
    """Print to stderr, above the progress bar if one is shown."""
    print(line, file=sys.stderr)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Make SIGTERM end the work as Ctrl-C does: cleanly, with a report."""

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


# FAISS warns about too few training points for every small segment that Milvus Lite indexes.
FAISS_ADVICE = b"WARNING clustering"
# Ray's core warns about this for every actor pool of Ray Data.
RAY_ADVICE = b"has constructor arguments in the object store"


def filter_stderr(advice: bytes) -> None:
    """Drop stderr lines that contain this text. Libraries print them from C, perhaps in a background thread.

    From here on the process's stderr goes through a pipe; Python's own `sys.stderr` keeps the terminal.
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

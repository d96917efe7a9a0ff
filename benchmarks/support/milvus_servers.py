"""A Milvus server for a benchmark, where there is one to be had."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.milvus_server import running_server


@contextmanager
def milvus_server(folder: Path) -> Iterator[str]:
    """Address of a server of its own with its data here, or nothing, said, where none can be started."""
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or the server would outlive the benchmark
    with contextlib.ExitStack() as stack:
        try:
            uri = stack.enter_context(running_server(folder))
        except pytest.skip.Exception as missing:
            print(f"Without a server: {missing.msg}")
            uri = ""
        yield uri


def in_ram(folder: Path) -> int:
    """Resident bytes of the package's server that keeps its data here; 0 for a container."""
    servers = [one for one in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(one.info["cmdline"] or [])]
    return sum(one.memory_info().rss for one in servers if one.name() == "milvus")


def on_disk(folder: Path) -> int:
    """Bytes of all files in a folder, or of one file."""
    if folder.is_file():
        return folder.stat().st_size
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # compacted away meanwhile
            total += file.stat().st_size if file.is_file() else 0
    return total

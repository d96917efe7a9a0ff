"""A Milvus server for a benchmark, if one can be started."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.servers.milvus_server import running_server


@contextmanager
def milvus_server(folder: Path) -> Iterator[str]:
    """Start a server with its data in `folder`; yield its address, or "" with a printed reason if none can start."""
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # otherwise the server would outlive the benchmark
    with contextlib.ExitStack() as stack:
        try:
            uri = stack.enter_context(running_server(folder))
        except pytest.skip.Exception as missing:
            print(f"No server: {missing.msg}")
            uri = ""
        yield uri


def in_ram(folder: Path) -> int:
    """Return the resident bytes of the package's server that keeps its data in `folder`; 0 for a container."""
    processes = psutil.process_iter(["cmdline"])
    servers = [process for process in processes if str(folder) in " ".join(process.info["cmdline"] or [])]
    return sum(server.memory_info().rss for server in servers if server.name() == "milvus")


def on_disk(folder: Path) -> int:
    """Return the bytes of all files in a folder, or of one file."""
    if folder.is_file():
        return folder.stat().st_size
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # compaction may delete files in between
            total += file.stat().st_size if file.is_file() else 0
    return total

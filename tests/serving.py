"""A service in a thread of this process, at a real address."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

from tests.conftest import FakeEngine
from tests.milvus_server import free_ports


@dataclass(frozen=True)
class Served:
    """Where it answers, and the engine that it embeds with, for counting."""

    address: str
    engine: FakeEngine


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Run the app; yields its address."""
    port = free_ports(1)[0]
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()

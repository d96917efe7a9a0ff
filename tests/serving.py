"""The service over a small catalogue: in this process, or at a real address."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from catalog.collection import PhotoCollection
from catalog.settings import ApiSettings, IndexSettings, MilvusSettings
from embedding.embedder import Embedder
from search_api.app import create_app
from tests.conftest import ingest_export
from tests.milvus_server import free_ports


def make_app(export: Path, embedder: Embedder, lite: MilvusSettings, **settings: object) -> FastAPI:
    """The service over an export that is ingested first."""
    photos = PhotoCollection.connect(lite, IndexSettings(), consistency="Session")
    ingest_export(export, embedder, photos)
    return create_app(ApiSettings.model_validate(settings), embedder, photos)


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Run the app in a thread; yields its address."""
    port = free_ports(1)[0]
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()

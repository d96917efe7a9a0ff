"""The service on a small catalogue: in this process, or at a real address."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr

from catalog.settings import (
    ApiSettings,
    IndexSettings,
    IngestSettings,
    InsightsSettings,
    MilvusSettings,
    Settings,
    VerdictSettings,
)
from catalog.store.collection import Consistency, PhotoCollection
from embedding.embedder import Embedder
from marketlens.serving import IDLE_SECONDS
from search_api.app import create_app
from tests.support.data.catalogues import ingest_export


def make_app(
    export: Path, embedder: Embedder, milvus: MilvusSettings, consistency: Consistency = "Session", **settings: object
) -> FastAPI:
    """Ingest an export and make its service; keys, ledger, insights and verdicts are stored next to the export."""
    folder = export.parent
    photos = PhotoCollection.connect(milvus, IndexSettings(), consistency=consistency)
    ingest_export(export, embedder, photos)
    return create_app(
        Settings(
            api=ApiSettings.model_validate({"keys": folder / "keys.json"} | settings),
            ingest=IngestSettings(ledger=folder / "ledger"),
            insights=InsightsSettings(folder=folder / "insights"),
            verdicts=VerdictSettings(url=SecretStr(f"sqlite:///{folder / 'verdicts.db'}")),
        ),
        embedder,
        photos,
    )


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Run the app in a thread of this process, on a real socket; yield its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as uvicorn does for its own sockets
    # Idle connections are kept as long as `marketlens serve` keeps them.
    config = uvicorn.Config(
        app, access_log=False, log_config=None, timeout_graceful_shutdown=5, timeout_keep_alive=IDLE_SECONDS
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        deadline = time.monotonic() + 120
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server.started
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def judge(answer: httpx.Response, photo_id: str) -> str:
    """Return `right` if the photo finds itself first, `503` for a well-formed 503, else a description."""
    if answer.status_code == 200:
        hits = answer.json()["hits"]
        right = len(hits) == 3 and hits[0]["photo_id"] == photo_id and hits[0]["score"] > 0.999
        return "right" if right else f"wrong: {[(hit['photo_id'], hit['score']) for hit in hits]} for {photo_id}"
    problem = answer.headers["content-type"] == "application/problem+json"
    if answer.status_code == 503 and problem and "retry-after" in answer.headers:
        return "503"
    return f"{answer.status_code}: {answer.text[:300]}"


def put(client: TestClient, listing_id: str, listing: dict[str, object], *photos: bytes) -> Any:
    if not photos:
        return client.put(f"/v1/listings/{listing_id}", json=listing)
    files = [("photo", ("p.jpg", photo, "image/jpeg")) for photo in photos]
    return client.put(f"/v1/listings/{listing_id}", files=files, data={"listing": json.dumps(listing)})

"""The ledger of runs on a server."""

import json
from uuid import uuid4

import pytest

from catalog.errors import IngestRunning
from catalog.runs.claim_watch import CLAIM
from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from ingest import claim
from tests.support.data.exports import MakeExport
from tests.support.data.runs import start, start_stopped


def test_a_running_ingest_is_not_resumed(
    make_export: MakeExport, embedder: Embedder, milvus_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run.json of a running ingest is not changed; once its claim stands still, it is resumed, on any host."""
    monkeypatch.setattr(claim, "BEAT_SECONDS", 0.2)
    settings = MilvusSettings(uri=milvus_server, alias=f"photos_{uuid4().hex[:8]}")
    photos = PhotoCollection.connect(settings, IndexSettings(), consistency="Session")
    export = make_export(listings=10, photos_each=1)
    try:
        first = start_stopped(export, embedder, photos, 2)
        first.state, first.host = "running", "container-1"
        path = export.parent / "ledger" / first.run_id / "run.json"
        first.save(path)
        before = path.read_text()
        with claim.hold_claim(photos, first), pytest.raises(IngestRunning, match=f"{first.run_id} .* on container-1"):
            start(export, embedder, photos, resume=True)
        assert path.read_text() == before
        photos.notes.set(CLAIM, json.dumps({"run": first.run_id, "host": "container-1", "process": 1, "beat": 7}))
        second = start(export, embedder, photos, resume=True)
        assert (second.run_id, second.written, second.finished) == (first.run_id, 10, True)
    finally:
        photos.close()

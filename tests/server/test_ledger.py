"""The ledger of runs into a server."""

import json
from pathlib import Path
from uuid import uuid4

import pytest

from catalog.claims import CLAIM
from catalog.collection import PhotoCollection
from catalog.errors import IngestRunning, StoreFailed
from catalog.exports import open_export
from catalog.report import Report
from catalog.settings import IndexSettings, IngestSettings, MilvusSettings
from embedding.embedder import Embedder
from ingest import claim
from ingest.local import run_locally
from ingest.run import Options, ingest
from tests.support.exports import MakeExport
from tests.support.models import LoadedModel


def start(export: Path, embedder: Embedder, photos: PhotoCollection, **options: bool) -> Report:
    report = Report(export=str(export))
    settings = IngestSettings(batch_size=3, ledger=export.parent / "ledger", wait_seconds=0)
    model = LoadedModel(embedder)
    try:
        ingest(
            run_locally, open_export(export), model, photos, settings, report, lambda _: None, print, Options(**options)
        )
    except StoreFailed:
        assert report.state == "failed"
    return report


def start_stopped(export: Path, embedder: Embedder, photos: PhotoCollection, batches: int) -> Report:
    """A run whose store refuses everything after so many batches."""
    upsert, calls = photos.upsert, []

    def refuse(*arguments: object) -> None:
        calls.append(1)
        if len(calls) > batches:
            raise StoreFailed("disk full")
        upsert(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photos, "upsert", refuse)
        return start(export, embedder, photos)


def test_a_run_that_is_alive_is_not_resumed(
    make_export: MakeExport, embedder: Embedder, milvus_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run.json stays as it is; once its claim stands still, it is resumed, wherever its host has gone."""
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
        with claim.claimed(photos, first), pytest.raises(IngestRunning, match=f"{first.run_id} .* on container-1"):
            start(export, embedder, photos, resume=True)
        assert path.read_text() == before
        photos.set_note(CLAIM, json.dumps({"run": first.run_id, "host": "container-1", "process": 1, "beat": 7}))
        second = start(export, embedder, photos, resume=True)
        assert (second.run_id, second.written, second.finished) == (first.run_id, 10, True)
    finally:
        photos.close()

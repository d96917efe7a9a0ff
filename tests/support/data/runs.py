"""Ingest runs that are stopped on purpose."""

from pathlib import Path

import pytest

from catalog.errors import StoreFailed
from catalog.exports.export import open_export
from catalog.runs.report import Report
from catalog.settings import IngestSettings
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from ingest.engines.local import run_locally
from ingest.run import IngestJob, Options, ingest
from tests.support.data.models import LoadedModel


def start(export: Path, embedder: Embedder, photos: PhotoCollection, **options: bool) -> Report:
    report = Report(export=str(export))
    settings = IngestSettings(batch_size=3, ledger=export.parent / "ledger", wait_seconds=0)
    model = LoadedModel(embedder)
    try:
        ingest(
            run_locally,
            IngestJob(open_export(export), model, photos, settings, report, lambda _: None, print, Options(**options)),
        )
    except StoreFailed:
        assert report.state == "failed"
    return report


def start_stopped(export: Path, embedder: Embedder, photos: PhotoCollection, batches: int) -> Report:
    """Start a run whose store fails after this number of batches."""
    upsert, calls = photos.writer.upsert, []

    def refuse(*arguments: object) -> None:
        calls.append(1)
        if len(calls) > batches:
            raise StoreFailed("disk full")
        upsert(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photos.writer, "upsert", refuse)
        return start(export, embedder, photos)

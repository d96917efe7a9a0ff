"""Open and fill catalogues on Milvus Lite or a server."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalog.exports.export import open_export
from catalog.runs.report import Report
from catalog.settings import IngestSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from ingest.engines.local import run_locally
from ingest.run import IngestJob, Options, ingest
from tests.support.data.models import LoadedModel

Connect = Callable[..., PhotoCollection]


def new_catalogue(request: pytest.FixtureRequest, tmp_path: Path) -> MilvusSettings:
    """Return the settings of an empty catalogue on the store of the test's parameter."""
    if request.param == "lite":
        return MilvusSettings(uri=str(tmp_path / "milvus.db"))
    return MilvusSettings(uri=request.getfixturevalue("milvus_server"), alias=f"photos_{uuid.uuid4().hex[:8]}")


def ingest_export(
    export: Path, embedder: Embedder, photos: PhotoCollection, *, batch_size: int = 256, **options: Any
) -> Report:
    """Ingest an export, with its ledger next to it, and check that the counts add up."""
    report = Report(export=str(export))
    advanced: list[int] = []
    settings = IngestSettings(batch_size=batch_size, ledger=export.parent / "ledger", wait_seconds=0)
    opened = open_export(export)
    ingest(
        run_locally,
        IngestJob(opened, LoadedModel(embedder), photos, settings, report, advanced.append, print, Options(**options)),
    )
    assert report.read == report.written + report.unchanged + report.rejected
    assert sum(advanced) == report.read
    assert report.finished
    return report

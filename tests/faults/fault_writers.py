"""Two concurrent writers."""

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from catalog.errors import IngestRunning, StoreLocked
from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from tests.faults.helpers import ids_of, lost_and_doubled
from tests.faults.reliability import record
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport
from tests.support.data.models import FakeEngine, fake_embedder

HOLD = """
import sys
from catalog.store.collection import PhotoCollection
from catalog.settings import IndexSettings, MilvusSettings
photos = PhotoCollection.connect(MilvusSettings(uri=sys.argv[1]), IndexSettings())
print("held", flush=True)
sys.stdin.read()
"""


def test_two_ingests_on_a_server(make_export: MakeExport, milvus_server: str) -> None:
    """An ingest that starts while another one embeds is refused and names it; the first one stores its photos once."""
    milvus = MilvusSettings(uri=milvus_server, alias=f"photos_{uuid4().hex[:8]}")
    first, second = (PhotoCollection.connect(milvus, IndexSettings(), consistency="Session") for _ in range(2))
    refused: list[IngestRunning] = []
    export, other = make_export(listings=20), make_export(listings=20, name="other/export")

    class StartsSecondIngest(FakeEngine):
        def run(self, pixels):  # type: ignore[no-untyped-def]
            if not refused:
                with pytest.raises(IngestRunning) as failure:
                    ingest_export(other, fake_embedder(), second)
                refused.append(failure.value)
            return super().run(pixels)

    embedder = fake_embedder()
    embedder._engine = StartsSecondIngest()
    report = ingest_export(export, embedder, first, batch_size=8)
    assert report.run_id in refused[0].message
    lost, doubled = lost_and_doubled(first, ids_of(20))
    assert (lost, doubled, report.photos) == (0, 0, 40)
    for photos in (first, second):
        photos.close()
    record(
        "two ingests into one collection of a server",
        {
            "promised": "the second is refused, and the error names the first",
            "observed": "refused, naming the first, which ended with 40 of 40 photos",
            "lost": lost,
            "doubled": doubled,
            "recovery": "run the second again when the first has ended",
        },
    )


def test_two_processes_on_lite(tmp_path: Path) -> None:
    """The error of the second process names the process that has the database."""
    database = tmp_path / "milvus.db"
    command = [sys.executable, "-c", HOLD, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin
        assert child.stdout
        assert child.stdout.readline() == "held\n"
        with pytest.raises(StoreLocked, match=str(child.pid)):
            PhotoCollection.connect(MilvusSettings(uri=str(database)), IndexSettings())
        child.stdin.close()
    PhotoCollection.connect(MilvusSettings(uri=str(database)), IndexSettings()).close()
    record(
        "two processes on one Lite database",
        {
            "promised": "one process at a time; the error names the process that has it",
            "observed": "refused, with the id of the process; free when that had ended",
            "lost": 0,
            "doubled": 0,
            "recovery": "end the other process",
        },
    )

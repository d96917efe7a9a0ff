"""Claims: only one ingest at a time into a collection, on a server as well."""

import json
import socket
from collections.abc import Iterator
from uuid import uuid4

import pytest

from catalog.errors import IngestRunning
from catalog.runs.report import Report
from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from ingest import claim
from ingest.claim import CLAIM, hold_claim

NOBODY = 2**22 + 1  # above Linux' largest process id


@pytest.fixture
def photos(milvus_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PhotoCollection]:
    monkeypatch.setattr(claim, "BEAT_SECONDS", 0.2)
    settings = MilvusSettings(uri=milvus_server, alias=f"photos_{uuid4().hex[:8]}")
    collection = PhotoCollection.connect(settings, IndexSettings(), consistency="Session")
    collection.ensure("ab" * 32, 8)
    yield collection
    collection.close()


def run(name: str, host: str = "", process: int = 1) -> Report:
    return Report(export="e", run_id=name, host=host or socket.gethostname(), process=process)


def test_a_second_ingest_is_refused_and_names_the_first(photos: PhotoCollection) -> None:
    """A second ingest into a collection stops before it writes; its error names the first."""
    with (
        hold_claim(photos, run("first", process=1)),
        pytest.raises(IngestRunning, match=r"first \(process 1 on "),
        hold_claim(photos, run("second")),
    ):
        pytest.fail("both run")
    with hold_claim(photos, run("third")):
        assert json.loads(photos.notes.get(CLAIM))["run"] == "third"
    assert photos.notes.get(CLAIM) == ""


@pytest.mark.parametrize("host", ["", "another-machine"])
def test_the_claim_of_a_killed_process_lapses(photos: PhotoCollection, host: str) -> None:
    """After a kill -9 nobody has to clean up: a claim lapses if its process has ended or its counter stands still."""
    stale = {"run": "killed", "host": host or socket.gethostname(), "process": NOBODY, "beat": 7}
    photos.notes.set(CLAIM, json.dumps(stale))
    with hold_claim(photos, run("next")):
        assert json.loads(photos.notes.get(CLAIM))["run"] == "next"


@pytest.mark.parametrize("other_claim", [{"run": "other"}, {"process": 2}], ids=["two runs", "one run"])
def test_one_of_two_simultaneous_claims_wins(
    photos: PhotoCollection, monkeypatch: pytest.MonkeyPatch, other_claim: dict[str, object]
) -> None:
    """If two ingests write a claim at once, the one whose claim is overwritten stops, even if both resume one run."""
    write = claim._write

    def write_and_overwrite(collection: PhotoCollection, own_claim: dict[str, object]) -> None:
        write(collection, own_claim)
        write(collection, own_claim | other_claim)

    monkeypatch.setattr(claim, "_write", write_and_overwrite)
    with pytest.raises(IngestRunning, match=r"other|process 2"), hold_claim(photos, run("mine")):
        pytest.fail("both run")

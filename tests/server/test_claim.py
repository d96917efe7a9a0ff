"""One ingest at a time into one collection, on a server as well."""

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
from ingest.claim import CLAIM, claimed

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


def test_the_second_is_refused_and_told_of_the_first(photos: PhotoCollection) -> None:
    """Two ingests into one collection: the second stops before it writes, with the name of the first."""
    with (
        claimed(photos, run("first", process=1)),
        pytest.raises(IngestRunning, match=r"first \(process 1 on "),
        claimed(photos, run("second")),
    ):
        pytest.fail("both run")
    with claimed(photos, run("third")):
        assert json.loads(photos.notes.get(CLAIM))["run"] == "third"
    assert photos.notes.get(CLAIM) == ""


@pytest.mark.parametrize("host", ["", "another-machine"])
def test_a_claim_of_the_dead_lapses(photos: PhotoCollection, host: str) -> None:
    """After a kill -9 nobody has to clean up: a process that is gone or a counter that stands still claims nothing."""
    left = {"run": "killed", "host": host or socket.gethostname(), "process": NOBODY, "beat": 7}
    photos.notes.set(CLAIM, json.dumps(left))
    with claimed(photos, run("next")):
        assert json.loads(photos.notes.get(CLAIM))["run"] == "next"


@pytest.mark.parametrize("theirs", [{"run": "other"}, {"process": 2}], ids=["two runs", "one run"])
def test_of_two_at_once_one_stays(
    photos: PhotoCollection, monkeypatch: pytest.MonkeyPatch, theirs: dict[str, object]
) -> None:
    """Both saw no claim and wrote theirs: the one whose claim was overwritten gives way, also where both resume one."""
    write = claim._write

    def overtaken(collection: PhotoCollection, mine: dict[str, object]) -> None:
        write(collection, mine)
        write(collection, mine | theirs)

    monkeypatch.setattr(claim, "_write", overtaken)
    with pytest.raises(IngestRunning, match=r"other|process 2"), claimed(photos, run("mine")):
        pytest.fail("both run")

"""Disks that are full or become read-only."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from catalog.errors import OutputFailed, StoreFailed
from catalog.exports.export import open_export
from catalog.runs.ledger import Ledger
from catalog.runs.report import Report
from catalog.settings import IndexSettings, IngestSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from ingest.engines.local import run_locally
from ingest.run import IngestJob, ingest
from tests.faults.helpers import ids_of, lost_and_doubled, remount, small_disk
from tests.faults.reliability import record
from tests.server import test_waiting
from tests.support.data.exports import MakeExport
from tests.support.data.models import LoadedModel, fake_embedder
from tests.support.data.pictures import jpeg, picture
from tests.support.servers.serving import make_app, put


def test_full_under_lite(make_export: MakeExport, tmp_path: Path) -> None:
    """The disk of the database fills up in the middle of a run."""
    test_waiting.test_full_disk(make_export, tmp_path)
    record(
        "full disk under Milvus Lite",
        {
            "promised": "the run ends with an error and reports what was confirmed; rerun with space, nothing is lost",
            "observed": "error with a hint; ledger and collection agree; 400 of 400 photos after the rerun",
            "lost": 0,
            "doubled": 0,
            "recovery": "free disk space, run the same command again",
        },
    )


def test_full_under_the_ledger(make_export: MakeExport, photos: PhotoCollection, tmp_path: Path) -> None:
    """Only the ledger's disk fills up: the run ends, and is still listed with its results."""
    export = make_export(listings=120)
    with small_disk(tmp_path / "disk", "48k") as disk:
        settings = IngestSettings(batch_size=8, ledger=disk / "ledger", wait_seconds=0)
        report = Report(export=str(export))
        with pytest.raises(OutputFailed, match="No space left") as failure:
            run(export, photos, settings, report)
        assert "Is there room" in failure.value.hint
        (listed,) = Ledger(settings.ledger).runs()
        assert 0 < listed.written <= photos.reader.count() < 240
        remount(disk, "size=10m")
        rerun = Report(export=str(export))
        run(export, photos, settings, rerun)
        assert rerun.written + rerun.unchanged == 240
    lost, doubled = lost_and_doubled(photos, ids_of(120))
    assert (lost, doubled) == (0, 0)
    record(
        "full disk under the ledger",
        {
            "promised": "the run ends with an error; a line is written only after Milvus has confirmed",
            "observed": f"the run is listed with {listed.written} photos, all in Milvus; 240 of 240 after the next run",
            "lost": lost,
            "doubled": doubled,
            "recovery": "free disk space, run the same command again",
        },
    )


def run(export: Path, photos: PhotoCollection, settings: IngestSettings, report: Report) -> None:
    model = LoadedModel(fake_embedder())
    ingest(run_locally, IngestJob(open_export(export), model, photos, settings, report, lambda _: None, print))


def test_full_under_the_photos_of_the_api(
    make_export: MakeExport, embedder: Embedder, lite: MilvusSettings, tmp_path: Path
) -> None:
    """No space for an uploaded photo: 507, the listing is unchanged, and searches still work."""
    with (
        small_disk(tmp_path / "disk", "64k") as disk,
        TestClient(make_app(make_export(listings=4), embedder, lite, photos=disk / "photos")) as client,
    ):
        large = jpeg(picture(1, (2_000, 1_500)))
        refused = put(client, "sofa", {"photos": [{"photo_id": "p", "upload": 0}]}, large)
        assert (refused.status_code, refused.json()["code"]) == (507, "output_failed")
        assert client.get("/v1/listings/sofa").status_code == 404
        assert [path for path in disk.rglob("*") if path.is_file()] == []
        assert client.post("/v1/search", files={"photo": ("p.jpg", large)}).status_code == 200
        remount(disk, "size=10m")
        assert put(client, "sofa", {"photos": [{"photo_id": "p", "upload": 0}]}, large).status_code == 201
    record(
        "full disk under the photos that the API stores",
        {
            "promised": "507; nothing changes",
            "observed": "507 with the reason, no partial photo, searches worked; with space, the same PUT succeeded",
            "lost": 0,
            "doubled": 0,
            "recovery": "free disk space, repeat the request",
        },
    )


def test_read_only(make_export: MakeExport, embedder: Embedder, lite: MilvusSettings, tmp_path: Path) -> None:
    """The photos' disk becomes read-only under a service: searches still work, changes are refused."""
    with small_disk(tmp_path / "disk", "100m") as disk:
        app = make_app(make_export(listings=4), embedder, lite, photos=disk / "photos")
        with TestClient(app) as client:
            sofa, bed = ({"photos": [{"photo_id": photo_id, "upload": 0}]} for photo_id in "pq")
            assert put(client, "sofa", sofa, jpeg(picture(9))).status_code == 201
            remount(disk, "ro")
            assert client.post("/v1/search", json={"listing_id": "l1"}).status_code == 200
            for answer in (put(client, "bed", bed, jpeg(picture(8))), client.delete("/v1/listings/sofa")):
                assert answer.status_code == 507, answer.text
                assert "Read-only" in answer.json()["detail"]
                assert answer.json()["hint"]
            remount(disk, "rw")
            assert put(client, "bed", bed, jpeg(picture(8))).status_code == 201
        remount(disk, "ro")
        with pytest.raises(StoreFailed, match="could not be opened") as failure:
            PhotoCollection.connect(MilvusSettings(uri=str(disk / "milvus.db")), IndexSettings())
        assert "writable" in failure.value.hint
    photos = PhotoCollection.connect(lite, IndexSettings(), consistency="Session")
    lost, doubled = lost_and_doubled(photos, [*ids_of(4), "q"])
    photos.close()
    assert (lost, doubled) == (0, 0)
    record(
        "read-only disk",
        {
            "promised": "changes are refused, searches still work",
            "observed": "searches 200; PUT and DELETE 507 with the reason; a database on it is not opened",
            "lost": lost,
            "doubled": doubled,
            "recovery": "make it writable, repeat the request; the failed DELETE removed the listing but not its file",
        },
    )

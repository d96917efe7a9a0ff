"""`--bulk`: a real server imports Parquet files of pymilvus' BulkWriter; photos are confirmed after the import."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import boto3
import numpy as np
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from pydantic import SecretStr
from pymilvus import MilvusException

from catalog.errors import InvalidSetting, StoreFailed
from catalog.exports.export import open_export
from catalog.listing import Listing, Photo, StoredPhoto
from catalog.runs.ledger import Ledger
from catalog.runs.report import Report
from catalog.settings import BulkSettings, IndexSettings, IngestSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from catalog.store.records import FIELDS, from_row
from embedding.embedder import Embedder
from ingest.engines.local import run_locally
from ingest.run import IngestJob, Options, ingest
from ingest.stages.bulk_sink import NOTE
from ingest.store_retry import StoreRetry
from tests.support.commands import RunHere
from tests.support.data.exports import MakeExport, undated
from tests.support.data.models import LoadedModel
from tests.support.servers.web import Site

bulk = pytest.importorskip(
    "catalog.store.bulk_import",
    reason='needs pymilvus\' bulk writer: pip install "marketlens[bulk]"',
    exc_type=ImportError,
)


@pytest.fixture
def photos(milvus_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PhotoCollection]:
    monkeypatch.setattr(bulk, "_POLL_SECONDS", 0.05)
    settings = MilvusSettings(uri=milvus_server, alias=f"photos_{uuid4().hex[:8]}")
    collection = PhotoCollection.connect(settings, IndexSettings(), consistency="Session")
    yield collection
    collection.close()


def run(
    export: Path, embedder: Embedder, photos: PhotoCollection, *, bulk: bool = True, resume: bool = False
) -> Report:
    report = Report(export=str(export))
    settings = IngestSettings(
        batch_size=4,
        ledger=export.parent / "ledger",
        bulk=BulkSettings(folder=str(export.parent / "files")),
    )
    model, options = LoadedModel(embedder), Options(bulk=bulk, resume=resume)
    ingest(run_locally, IngestJob(open_export(export), model, photos, settings, report, lambda _: None, print, options))
    return report


def test_the_same_result_as_without_bulk(
    make_export: MakeExport, embedder: Embedder, photos: PhotoCollection, milvus_server: str
) -> None:
    """Records and embeddings equal those of a normal ingest, the files are deleted, and reads see every photo."""
    export = make_export(listings=10, photos_each=2)
    (export / "images" / "l1-0.jpg").write_bytes(b"no photo")
    report = run(export, embedder, photos)
    assert (report.read, report.embedded, report.rejected, report.photos) == (20, 19, 1, 19)
    settings = MilvusSettings(uri=milvus_server, alias=f"photos_{uuid4().hex[:8]}")
    plain = PhotoCollection.connect(settings, IndexSettings(), consistency="Session")
    run(export, embedder, plain, bulk=False)
    ids = sorted(photo_id for photo_id, _ in photos.reader.ids())
    assert len(ids) == 19
    assert np.array_equal(photos.reader.embeddings(ids), plain.reader.embeddings(ids))
    imported, upserted = photos.reader.stored(ids), plain.reader.stored(ids)
    plain.close()
    assert [(undated(imported[photo_id].photo), imported[photo_id].sha256) for photo_id in ids] == [
        (undated(upserted[photo_id].photo), upserted[photo_id].sha256) for photo_id in ids
    ]
    assert None not in {record.photo.listing.listed_at for record in imported.values()}
    assert not list((export.parent / "files").rglob("*.parquet"))
    assert photos.notes.get(NOTE) == ""
    rerun = run(export, embedder, photos, bulk=False)
    assert (rerun.unchanged, rerun.written) == (19, 0)


def test_only_a_first_load(make_export: MakeExport, embedder: Embedder, photos: PhotoCollection) -> None:
    """A collection with photos is refused, because an import cannot replace them."""
    export = make_export(listings=2)
    run(export, embedder, photos, bulk=False)
    with pytest.raises(InvalidSetting, match="holds 4 photos"):
        run(export, embedder, photos)
    assert photos.reader.count() == 4


@pytest.mark.slow
@pytest.mark.parametrize("next_run", ["bulk", "resume", "plain"])
def test_interrupted_while_the_server_imports(
    make_export: MakeExport, embedder: Embedder, photos: PhotoCollection, monkeypatch: pytest.MonkeyPatch, next_run: str
) -> None:
    """If a run dies while the server imports, the next one waits for that import, with --bulk or without.

    The ledger contains only confirmed photos, and no photo is stored twice.
    """
    export = make_export(listings=8)
    monkeypatch.setattr(bulk, "FILE_BYTES", 1)  # a file for each batch
    jobs: list[str] = []
    start = bulk._GrpcJobs.start

    def start_and_interrupt(client: object, file: str) -> str:
        jobs.append(start(client, file))
        if len(jobs) == 2:
            raise KeyboardInterrupt
        return jobs[-1]

    with monkeypatch.context() as patch:
        patch.setattr(bulk._GrpcJobs, "start", start_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(export, embedder, photos)
    (stopped,) = Ledger(export.parent / "ledger").runs()
    assert (len(jobs), stopped.state, stopped.embedded) == (2, "stopped", 4)
    report = run(export, embedder, photos, bulk=next_run != "plain", resume=next_run == "resume")
    assert report.read == report.written + report.unchanged == report.photos == 16
    assert report.unchanged == (4 if next_run == "resume" else 8)
    # The server may be unavailable for a moment while it loads the import.
    ids = StoreRetry(60, print)(lambda: [photo_id for photo_id, _ in photos.reader.ids()])
    assert len(ids) == len(set(ids)) == 16


def test_interrupted_and_continued_without_the_extra(
    make_export: MakeExport, embedder: Embedder, photos: PhotoCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the import's state cannot be read, nothing is ingested, and the hint says what to install."""
    export = make_export(listings=2)
    run(export, embedder, photos, bulk=False)
    photos.notes.set(NOTE, "under way")
    monkeypatch.setitem(sys.modules, "catalog.store.bulk_import", None)
    with pytest.raises(InvalidSetting, match="was interrupted") as error:
        run(export, embedder, photos, bulk=False)
    assert "marketlens[bulk]" in error.value.hint
    assert photos.notes.get(NOTE)


def test_a_lost_answer(
    make_export: MakeExport, embedder: Embedder, photos: PhotoCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Milvus accepts the request but its answer is lost, the request is not repeated, or it would import twice."""
    start, lost = bulk._GrpcJobs.start, []

    def start_and_lose(jobs: object, file: str) -> str:
        lost.append(start(jobs, file))
        raise MilvusException(message="UNAVAILABLE")

    monkeypatch.setattr(bulk._GrpcJobs, "start", start_and_lose)
    report = run(make_export(listings=4), embedder, photos)
    assert (len(lost), report.embedded, report.photos) == (1, 8, 8)


def test_a_file_that_the_server_cannot_read(
    make_export: MakeExport, embedder: Embedder, photos: PhotoCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's refusal ends the run with its reason and a hint that works; the ledger has no rows."""
    export = make_export(listings=3)
    start = bulk._GrpcJobs.start
    monkeypatch.setattr(bulk._GrpcJobs, "start", lambda jobs, file: start(jobs, "/nowhere" + file))
    with pytest.raises(StoreFailed, match="no such file") as caught:
        run(export, embedder, photos)
    assert "without --bulk" in caught.value.hint
    (failed,) = Ledger(export.parent / "ledger").runs()
    assert (failed.state, failed.read) == ("failed", 0)
    assert run(export, embedder, photos, bulk=False).written == 6


def test_files_for_a_bucket(photos: PhotoCollection, tmp_path: Path) -> None:
    """With an object store the file is written to the bucket, and contains every field unchanged."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    credentials = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region_name": "us-east-1"}
    bucket = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **credentials)
    bucket.create_bucket(Bucket="milvus")
    photos.ensure("ab" * 32, 8)
    load = photos.writer.bulk_load(
        BulkSettings(
            endpoint=f"{host}:{port}",
            bucket="milvus",
            access_key=SecretStr("k"),
            secret_key=SecretStr("s"),
            draft=tmp_path / "draft",
        )
    )
    stored = [
        StoredPhoto(Photo(f"p{n}", Listing(f"l{n}", f'"{n}" é 🛋', "C", "S", None, "GBP", "Leeds"), "/p"), "0" * 64, 5)
        for n in range(3)
    ]
    vectors = np.eye(3, 8, dtype=np.float32)
    load.append(stored, vectors)
    load.write()
    (file,) = bucket.list_objects_v2(Bucket="milvus")["Contents"]
    table = pq.read_table(io.BytesIO(bucket.get_object(Bucket="milvus", Key=file["Key"])["Body"].read()))
    server.stop()
    assert file["Key"].startswith("marketlens/")
    assert set(table.column_names) == {*FIELDS, "embedding"}
    rows = table.to_pylist()
    assert [from_row(row) for row in rows] == stored
    assert np.array_equal(np.array([row["embedding"] for row in rows], np.float32), vectors)


def test_jobs_of_newer_servers(site: Site) -> None:
    """From Milvus 2.4 on, jobs are created and listed through the documented REST API."""
    jobs = bulk._RestJobs(SimpleNamespace(settings=MilvusSettings(uri=site.address)), "photos_x")
    site.page("/v2/vectordb/jobs/import/create", b'{"code": 0, "data": {"jobId": "7"}}')
    site.page("/v2/vectordb/jobs/import/list", b'{"code": 0, "data": {"records": [{"jobId": "7"}]}}')
    site.page(
        "/v2/vectordb/jobs/import/describe",
        b'{"code": 0, "data": {"jobId": "7", "state": "Completed", "importedRows": 3, "totalRows": 3,'
        b' "details": [{"fileName": "[marketlens/u/1.parquet]"}]}}',
    )
    assert jobs.start("marketlens/u/1.parquet") == "7"
    request = json.loads(site.posted[-1])
    assert (request["collectionName"], request["files"]) == ("photos_x", [["marketlens/u/1.parquet"]])
    assert jobs.list() == [bulk.Job("7", "done", 3, "[marketlens/u/1.parquet]")]


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "Milvus Lite has no bulk import"),
        ({"MARKETLENS_MILVUS__URI": "http://127.0.0.1:9"}, "needs a place that the server reads from"),
    ],
)
def test_impossible_imports_are_refused(
    tmp_path: Path, make_export: MakeExport, run_here: RunHere, environment: dict[str, str], words: str
) -> None:
    """An impossible bulk import is refused before anything is opened or created."""
    result = run_here("ingest", make_export(), "--bulk", cwd=tmp_path, **environment)
    assert result.returncode == 2
    assert words in result.stderr
    assert not (tmp_path / "data" / "milvus.db").exists()

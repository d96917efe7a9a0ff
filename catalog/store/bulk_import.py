"""Bulk import: photos as Parquet files that the server itself reads, which is how a first load is cheapest.

Milvus imports what is in the files and replaces nothing: an id that is there already would be there twice.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pymilvus import MilvusException
from pymilvus.bulk_writer import (
    LocalBulkWriter,
    RemoteBulkWriter,
    bulk_import,
    get_import_progress,
    list_import_jobs,
)

from catalog.errors import InvalidSetting, StoreFailed
from catalog.listing import Embeddings, StoredPhoto
from catalog.settings import BulkSettings, MilvusSettings
from catalog.store.builds import Builds, CollectionInfo, schema_of
from catalog.store.milvus import Milvus, translated
from catalog.store.records import check_embeddings, to_row

FILE_BYTES = 256 << 20
_NEVER = 1 << 40  # the writer's own limit: it would begin another file in a thread, and lose its errors
_POLL_SECONDS = 1.0
_JOBS = 1_000

# They print every step, and every error that is translated below.
for noisy in ("bulk_writer", "pymilvus.bulk_writer"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Job:
    """An import that the server was asked for. `rows` counts once it is done."""

    id: str
    state: Literal["going", "done", "failed"]
    rows: int
    files: str
    reason: str = ""


def require_place(milvus: MilvusSettings, bulk: BulkSettings) -> None:
    """Raise InvalidSetting for Lite, and where no place is set that this process writes to and the server reads."""
    if milvus.is_lite:
        raise InvalidSetting(
            "Milvus Lite has no bulk import.", hint="Leave --bulk out, or give a server's address with --uri."
        )
    if not (bulk.folder or bulk.endpoint):
        raise InvalidSetting(
            "--bulk needs a place that the server reads from.",
            hint="MARKETLENS_INGEST__BULK__ENDPOINT and …__BUCKET name the server's own bucket, "
            "MARKETLENS_INGEST__BULK__FOLDER a folder that a server with local storage sees under the same path.",
        )


class BulkLoad:
    """Fills one collection by files. One thread at a time."""

    def __init__(self, milvus: Milvus, collection: CollectionInfo, settings: BulkSettings) -> None:
        self._milvus = milvus
        self._uri = milvus.settings.shown
        self._collection = collection
        self._settings = settings
        self._jobs = _jobs_of(milvus, collection.name)
        self._writer: Any = None
        self._written: str = ""

    @property
    def full(self) -> bool:
        """Whether the file is large enough to be imported."""
        return self._writer is not None and self._writer.buffer_size >= FILE_BYTES

    def append(self, photos: Sequence[StoredPhoto], embeddings: Embeddings) -> None:
        """Write photos, whose ids the collection does not have, to the file. Embeddings (n, dim), unit length."""
        check_embeddings(photos, embeddings, self._collection.dim)
        if self._writer is None:
            self._writer = self._new_writer()
        with translated(self._uri):
            for photo, vector in zip(photos, embeddings, strict=True):
                self._writer.append_row(to_row(photo) | {"embedding": vector})

    def write(self) -> None:
        """Close the file; it is where the server finds it then. Raises StoreFailed."""
        if self._written or self._writer is None:
            return
        self._writer.commit()  # whatever goes wrong in there goes wrong in a thread
        files = [str(file) for group in self._writer.batch_files for file in group]
        if len(files) != 1:
            raise StoreFailed(f"The file for the bulk import could not be written to {self._place}.", hint=_PLACE)
        self._written = str(Path(files[0]).absolute()) if self._settings.folder else files[0]

    def load(self) -> int:
        """Have the file imported; returns how many rows Milvus has confirmed. Calling it again imports nothing twice.

        Raises StoreFailed where the server refuses, StoreUnreachable.
        """
        self.write()
        if not self._written:
            return 0
        # Asked for before, perhaps, and only the answer was lost.
        job = self._job() or self._asked()
        while job.state == "going":
            time.sleep(_POLL_SECONDS)
            job = self._job() or job
        if job.state == "failed":
            raise StoreFailed(f"Milvus at {self._uri} did not import {self._written}: {job.reason}", hint=_PLACE)
        if self._settings.folder:
            Path(self._written).unlink(missing_ok=True)
        self._writer, self._written = None, ""
        return job.rows

    def settle(self) -> None:
        """Wait until no import into this collection is under way, and what came in can be looked up."""
        while any(job.state == "going" for job in self._listed()):
            time.sleep(_POLL_SECONDS)
        Builds(self._milvus).wait_for_index(self._collection.name)
        self._milvus.refresh(self._collection.name)

    def _job(self) -> Job | None:
        return next((job for job in self._listed() if self._written in job.files), None)

    def _asked(self) -> Job:
        with translated(self._uri):
            return Job(self._jobs.ask(self._written), "going", 0, self._written)

    def _listed(self) -> list[Job]:
        with translated(self._uri):
            return self._jobs.list()

    @property
    def _place(self) -> str:
        return self._settings.folder or f"{self._settings.endpoint}/{self._settings.bucket}"

    def _new_writer(self) -> Any:
        schema = schema_of(self._collection.dim)
        settings = self._settings
        try:
            if settings.folder:
                Path(settings.folder).mkdir(parents=True, exist_ok=True)
                return LocalBulkWriter(schema, settings.folder, chunk_size=_NEVER)
            place = RemoteBulkWriter.S3ConnectParam(
                bucket_name=settings.bucket,
                endpoint=settings.endpoint,
                access_key=settings.access_key.get_secret_value(),
                secret_key=settings.secret_key.get_secret_value(),
                secure=settings.secure,
            )
            return RemoteBulkWriter(
                schema, settings.prefix, place, chunk_size=_NEVER, local_path=str(settings.draft.absolute())
            )
        except (OSError, ValueError, MilvusException) as error:
            raise StoreFailed(f"{self._place} cannot be written to: {error}", hint=_PLACE) from error


class _Rest:
    """Import jobs as Milvus 2.4 and newer document them."""

    def __init__(self, milvus: Milvus, collection: str) -> None:
        self._where = {"url": milvus.settings.uri.rstrip("/"), "api_key": milvus.settings.token.get_secret_value()}
        self._collection = collection

    def ask(self, file: str) -> str:
        answer = bulk_import(**self._where, collection_name=self._collection, files=[[file]])
        return str(answer.json()["data"]["jobId"])

    def list(self) -> list[Job]:
        answer = list_import_jobs(**self._where, collection_name=self._collection, page_size=_JOBS)
        return [self._described(record["jobId"]) for record in answer.json()["data"].get("records", [])]

    def _described(self, job: str) -> Job:
        data = get_import_progress(**self._where, job_id=job).json()["data"]
        files = " ".join(detail.get("fileName", "") for detail in data.get("details", []))
        state = {"Completed": "done", "Failed": "failed"}.get(data["state"], "going")
        return Job(job, state, int(data.get("importedRows", 0)), files, data.get("reason", ""))  # type: ignore[arg-type]


class _Grpc:
    """Import tasks of Milvus 2.3, which has them over gRPC alone."""

    def __init__(self, milvus: Milvus, collection: str) -> None:
        self._handler = milvus.client._get_connection()
        self._collection = collection

    def ask(self, file: str) -> str:
        # Once: asked for twice, the file would be imported twice.
        return str(self._handler.do_bulk_insert(self._collection, "", [file], retry_times=1))

    def list(self) -> list[Job]:
        return [_job_of(task) for task in self._handler.list_bulk_insert_tasks(_JOBS, self._collection)]


def _job_of(task: Any) -> Job:
    done, failed = task.state_name == "Completed", task.state_name.startswith("Failed")
    state: Literal["going", "done", "failed"] = "done" if done else "failed" if failed else "going"
    return Job(str(task.task_id), state, task.row_count, task.infos.get("files", ""), task.failed_reason)


def _jobs_of(milvus: Milvus, collection: str) -> _Rest | _Grpc:
    with translated(milvus.settings.shown):
        version = str(milvus.client.get_server_version(timeout=milvus.settings.timeout))
    return (_Grpc if version.startswith("v2.3.") else _Rest)(milvus, collection)


_PLACE = (
    "Can this process write there, and the server read it? MARKETLENS_INGEST__BULK__… in .env.example; "
    "without --bulk nothing of it is needed."
)

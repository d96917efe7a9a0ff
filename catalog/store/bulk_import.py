"""Bulk import: photos as Parquet files that the server itself reads, the cheapest way to do a first load.

Milvus imports the files without replacing anything: an id that the collection already has would be there twice.
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
from catalog.store.milvus import Milvus, translate_errors
from catalog.store.records import check_embeddings, to_row

FILE_BYTES = 256 << 20
# Disables the writer's own limit, at which it would start another file in a thread and lose that thread's errors.
_NO_LIMIT = 1 << 40
_POLL_SECONDS = 1.0
_MAX_JOBS = 1_000

# These loggers print every step, and every error that is translated below.
for noisy in ("bulk_writer", "pymilvus.bulk_writer"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Job:
    """An import that the server runs. `rows` is valid when the state is "done"."""

    id: str
    state: Literal["running", "done", "failed"]
    rows: int
    files: str
    reason: str = ""


def require_place(milvus: MilvusSettings, bulk: BulkSettings) -> None:
    """Raise InvalidSetting for Lite, and if no place is set that this process can write and the server can read."""
    if milvus.is_lite:
        raise InvalidSetting(
            "Milvus Lite has no bulk import.", hint="Omit --bulk, or pass the address of a server with --uri."
        )
    if not (bulk.folder or bulk.endpoint):
        raise InvalidSetting(
            "--bulk needs a place that the server reads from.",
            hint="Set MARKETLENS_INGEST__BULK__ENDPOINT and …__BUCKET to the server's own bucket, or "
            "MARKETLENS_INGEST__BULK__FOLDER to a folder that a server with local storage sees under the same path.",
        )


class BulkLoad:
    """Fills one collection from files. For one thread at a time."""

    def __init__(self, milvus: Milvus, collection: CollectionInfo, settings: BulkSettings) -> None:
        self._milvus = milvus
        self._uri = milvus.settings.uri_without_password
        self._collection = collection
        self._settings = settings
        self._jobs = _import_jobs(milvus, collection.name)
        self._writer: Any = None
        self._file: str = ""

    @property
    def full(self) -> bool:
        """Whether the file is large enough to be imported."""
        return self._writer is not None and self._writer.buffer_size >= FILE_BYTES

    def append(self, photos: Sequence[StoredPhoto], embeddings: Embeddings) -> None:
        """Add photos whose ids the collection does not have to the file. Embeddings (n, dim), unit length."""
        check_embeddings(photos, embeddings, self._collection.dim)
        if self._writer is None:
            self._writer = self._new_writer()
        with translate_errors(self._uri):
            for photo, vector in zip(photos, embeddings, strict=True):
                self._writer.append_row(to_row(photo) | {"embedding": vector})

    def write(self) -> None:
        """Close the file and put it where the server reads it. Raises StoreFailed."""
        if self._file or self._writer is None:
            return
        self._writer.commit()  # runs in a thread, whose errors are lost
        files = [str(file) for group in self._writer.batch_files for file in group]
        if len(files) != 1:
            raise StoreFailed(f"The file for the bulk import could not be written to {self._place}.", hint=_HINT)
        self._file = str(Path(files[0]).absolute()) if self._settings.folder else files[0]

    def load(self) -> int:
        """Let the server import the file; return how many rows Milvus confirmed. A retry imports nothing twice.

        Raises StoreFailed if the server refuses, StoreUnreachable.
        """
        self.write()
        if not self._file:
            return 0
        # The job may exist already, if only the response to an earlier request was lost.
        job = self._find_job() or self._start_job()
        while job.state == "running":
            time.sleep(_POLL_SECONDS)
            job = self._find_job() or job
        if job.state == "failed":
            raise StoreFailed(f"Milvus at {self._uri} did not import {self._file}: {job.reason}", hint=_HINT)
        if self._settings.folder:
            Path(self._file).unlink(missing_ok=True)
        self._writer, self._file = None, ""
        return job.rows

    def wait_for_imports(self) -> None:
        """Wait until no import into this collection is running and look-ups find the imported rows."""
        while any(job.state == "running" for job in self._list_jobs()):
            time.sleep(_POLL_SECONDS)
        Builds(self._milvus).wait_for_index(self._collection.name)
        self._milvus.refresh(self._collection.name)

    def _find_job(self) -> Job | None:
        return next((job for job in self._list_jobs() if self._file in job.files), None)

    def _start_job(self) -> Job:
        with translate_errors(self._uri):
            return Job(self._jobs.start(self._file), "running", 0, self._file)

    def _list_jobs(self) -> list[Job]:
        with translate_errors(self._uri):
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
                return LocalBulkWriter(schema, settings.folder, chunk_size=_NO_LIMIT)
            place = RemoteBulkWriter.S3ConnectParam(
                bucket_name=settings.bucket,
                endpoint=settings.endpoint,
                access_key=settings.access_key.get_secret_value(),
                secret_key=settings.secret_key.get_secret_value(),
                secure=settings.secure,
            )
            return RemoteBulkWriter(
                schema, settings.prefix, place, chunk_size=_NO_LIMIT, local_path=str(settings.draft.absolute())
            )
        except (OSError, ValueError, MilvusException) as error:
            raise StoreFailed(f"{self._place} cannot be written to: {error}", hint=_HINT) from error


class _RestJobs:
    """Import jobs over the REST API of Milvus 2.4 and newer."""

    def __init__(self, milvus: Milvus, collection: str) -> None:
        self._server = {"url": milvus.settings.uri.rstrip("/"), "api_key": milvus.settings.token.get_secret_value()}
        self._collection = collection

    def start(self, file: str) -> str:
        answer = bulk_import(**self._server, collection_name=self._collection, files=[[file]])
        return str(answer.json()["data"]["jobId"])

    def list(self) -> list[Job]:
        answer = list_import_jobs(**self._server, collection_name=self._collection, page_size=_MAX_JOBS)
        return [self._describe(record["jobId"]) for record in answer.json()["data"].get("records", [])]

    def _describe(self, job: str) -> Job:
        data = get_import_progress(**self._server, job_id=job).json()["data"]
        files = " ".join(detail.get("fileName", "") for detail in data.get("details", []))
        state = {"Completed": "done", "Failed": "failed"}.get(data["state"], "running")
        return Job(job, state, int(data.get("importedRows", 0)), files, data.get("reason", ""))  # type: ignore[arg-type]


class _GrpcJobs:
    """Import tasks of Milvus 2.3, which offers them over gRPC only."""

    def __init__(self, milvus: Milvus, collection: str) -> None:
        self._handler = milvus.client._get_connection()
        self._collection = collection

    def start(self, file: str) -> str:
        # One attempt: a second request would import the file a second time.
        return str(self._handler.do_bulk_insert(self._collection, "", [file], retry_times=1))

    def list(self) -> list[Job]:
        return [_job_of(task) for task in self._handler.list_bulk_insert_tasks(_MAX_JOBS, self._collection)]


def _job_of(task: Any) -> Job:
    done, failed = task.state_name == "Completed", task.state_name.startswith("Failed")
    state: Literal["running", "done", "failed"] = "done" if done else "failed" if failed else "running"
    return Job(str(task.task_id), state, task.row_count, task.infos.get("files", ""), task.failed_reason)


def _import_jobs(milvus: Milvus, collection: str) -> _RestJobs | _GrpcJobs:
    with translate_errors(milvus.settings.uri_without_password):
        version = str(milvus.client.get_server_version(timeout=milvus.settings.timeout))
    return (_GrpcJobs if version.startswith("v2.3.") else _RestJobs)(milvus, collection)


_HINT = (
    "Can this process write there, and can the server read it? See MARKETLENS_INGEST__BULK__… in .env.example; "
    "an ingest without --bulk needs none of these settings."
)

"""The stages as Ray runs them on the cluster's machines: each is a class that keeps what is expensive to make.

Stages exchange tables of one row, which holds a pickled batch: Milvus, the neural network and the ledger take whole
batches, and Ray sees how large they are.
"""

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from more_itertools import chunked
from numpy.typing import NDArray
from PIL import Image
from ray import cloudpickle
from ray.data import Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from catalog.errors import ModelMismatch
from catalog.exports.export import Export
from catalog.listing import Photo, Rejected
from catalog.settings import IngestSettings
from catalog.stage_timer import StageTimer
from catalog.store.collection import PhotoCollection
from embedding.card import TransformConfig
from embedding.transforms import Transform, embed_transform
from ingest.stages.batch import Batch, Confirmed
from ingest.stages.lazy_model import LazyEmbedder
from ingest.stages.lookup import look_up, read_all
from ingest.stages.photo_reader import PhotoReader
from ingest.stages.writer import UpsertSink
from ingest.store_retry import StoreRetry


@dataclass(frozen=True)
class WorkerSettings:
    """Settings for every worker. `say` shows a line to the user of the command."""

    ingest: IngestSettings
    connect: Callable[[], PhotoCollection] | None
    say: Callable[[str], None]
    model: Path
    fingerprint: str
    transform: TransformConfig
    dry_run: bool
    now: int


def to_table(items: Iterable[object]) -> pa.Table:
    """Pickle objects into a table with one row each.

    Ray pickles what its workers exchange anyway, and who reaches the cluster can run code there: no file is unpickled.
    """
    rows = [cloudpickle.dumps(item) for item in items]
    return pa.table({"item": pa.array(rows, pa.large_binary())})


def from_table(table: pa.Table) -> Iterator[Any]:
    """Yield the objects that `to_table` was given."""
    return (cloudpickle.loads(item.as_py()) for item in table["item"])


class Stage:
    """Works on one batch at a time; the seconds of each stage travel with the batches."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.stages = StageTimer()
        self.retry = StoreRetry(settings.ingest.wait_seconds, settings.say)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Work on the batches of one table, mostly one."""
        return to_table(map(self._timed, from_table(table)))

    def work(self, item: Any) -> Any:
        """Work on one batch."""
        raise NotImplementedError

    def _timed(self, item: tuple[Any, Mapping[str, float]]) -> tuple[Any, Mapping[str, float]]:
        batch, seconds = item
        self.stages.add(seconds)
        return self.work(batch), self.stages.take()


class Rows(Datasource):  # type: ignore[misc]
    """The rows of an export in batches, read by one task; when Ray repeats the task, it reads the same rows."""

    def __init__(self, export: Export, done: Any, batch_size: int) -> None:
        """`done` is a Ray reference to the rows to skip."""
        super().__init__()
        self._read = (export, done, batch_size)

    def get_read_tasks(self, parallelism: int, *_: object, **__: object) -> list[ReadTask]:  # noqa: ARG002 - Ray's
        """One task."""
        export, done, size = self._read
        return [ReadTask(lambda: _batches(export, done, size), BlockMetadata(None, None, None, None))]

    def estimate_inmemory_data_size(self) -> int | None:
        """Unknown."""
        return None


def _batches(export: Export, done: Any, size: int) -> Iterator[pa.Table]:
    import ray  # noqa: PLC0415 - in the task, where it is connected

    for rows in chunked(export.rows(skip=ray.get(done)), size):
        yield to_table([(rows, {})])


class ReadStage(Stage):
    """Rows -> stored photos -> bytes -> pixels, in threads."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        self._collection: PhotoCollection | None = None
        self._transform: Transform | None = None
        limits = (settings.ingest.max_photo_bytes, self.stages, settings.ingest.network_seconds)
        self._reader = PhotoReader(self._preprocess, *limits)

    def work(self, item: list[Photo | Rejected]) -> Batch:
        """Read a batch of rows."""
        with self.stages.time("look up"):
            if self._collection is None and self.settings.connect:
                self._collection = self.retry(self.settings.connect)
            rows = look_up(item, self._collection, self.retry, self.settings.now)
        batch = Batch()
        for result in read_all(rows, self._reader, ahead=len(rows)):
            batch.add(result)
        return batch

    def _preprocess(self, image: Image.Image) -> NDArray[np.uint8]:
        if self._transform is None:
            self._transform = embed_transform(self.settings.transform)
        return self._transform(image)


class EmbedStage(Stage):
    """Pixels -> embeddings. Loads the model when the first photo needs it."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        self._model: LazyEmbedder | None = None

    def work(self, item: Batch) -> Batch:
        """Embed a batch."""
        if item.waiting:
            with self.stages.time("embed"):
                if self._model is None and not self.settings.dry_run:
                    self._model = _open_model(self.settings)
                item.embed(self._model)
        return item


class WriteStage(Stage):
    """Batches -> Milvus -> confirmed rows."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        self._upserts: UpsertSink | None = None

    def work(self, item: Batch) -> Confirmed:
        """Write a batch."""
        with self.stages.time("write"):
            if self._upserts is None:
                assert self.settings.connect  # noqa: S101 - without a collection there is no write stage
                collection = self.retry(self.settings.connect)
                self._upserts = UpsertSink(collection, self.retry, _open_model(self.settings))
            (confirmed,) = self._upserts.write(item)
        return confirmed


def _open_model(settings: WorkerSettings) -> LazyEmbedder:
    """Open this machine's copy of the model. Raises ModelMismatch, ModelMissing, ModelBroken."""
    model = LazyEmbedder(settings.model)
    if model.card.fingerprint != settings.fingerprint:
        raise ModelMismatch(
            f"On {socket.gethostname()} {settings.model} is the model {model.card.fingerprint[:12]}, but this run's is "
            f"{settings.fingerprint[:12]}.",
            hint="Every machine of the cluster needs the same model folder under the same path.",
        )
    return model

"""The engine of a Ray cluster: the same stages as a Ray Data pipeline. docs/decisions/0017-ray.md says why.

rows (a task beside the driver) -> look up, read, decode -> embed -> write (all on every machine) -> ledger (here)
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

# Ray reads these when it is imported. A cluster started here is for this machine only, and sends no usage statistics.
if "RAY_ADDRESS" not in os.environ:
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

import ray
import ray.data
from ray.exceptions import RayError, RayTaskError
from ray.util.queue import Empty, Queue

from catalog.errors import InvalidSetting, MarketlensError, WorkersFailed
from catalog.settings import MilvusSettings
from ingest.engines.ray_workers import EmbedStage, ReadStage, Rows, WorkerSettings, WriteStage, from_table
from ingest.pipeline import IngestJob
from ingest.stages.batch import Batch, Confirmed
from ingest.stages.lookup import LOCAL

# Shares of a CPU with which Ray places an actor; the threads inside use all cores.
_READ, _EMBED, _WRITE = 0.25, 0.5, 0.125
_ANSWER_SECONDS = 10


def run_on_ray(job: IngestJob) -> Mapping[str, int]:
    """Run the stages on the cluster at RAY_ADDRESS, or on one that is started on this machine.

    Raises InvalidSetting for an unusable address, WorkersFailed, and what the stages raise.
    """
    started = time.perf_counter()
    with _cluster(), _worker_messages(job) as say:
        machines, gpus = _size()
        settings = WorkerSettings(
            ingest=job.settings,
            connect=job.target.connector() if job.target else None,
            say=say,
            model=job.model.folder,
            fingerprint=job.model.card.fingerprint,
            transform=job.model.card.transform,
            dry_run=job.options.dry_run,
            now=job.started_at,
        )
        embedders = gpus or machines
        stages: list[tuple[Any, int, dict[str, float]]] = [
            (ReadStage, embedders, {"num_cpus": _READ}),
            (EmbedStage, embedders, {"num_cpus": _EMBED, "num_gpus": 1} if gpus else {"num_cpus": _EMBED}),
        ]
        if job.writer.takes_confirmed:
            stages.append((WriteStage, machines, {"num_cpus": _WRITE}))
        dataset = _rows(job)
        for stage, count, room in stages:
            dataset = dataset.map_batches(
                stage,
                batch_size=None,
                batch_format="pyarrow",
                concurrency=count,
                fn_constructor_args=(settings,),
                **room,
            )
        rows = 0
        for item, seconds in _results(dataset):
            if not rows:
                job.timer.add({"start": time.perf_counter() - started})
            job.timer.add(seconds)
            rows += _hand_over(item, job)
        if missing := sum(1 for _ in job.export.rows(skip=job.done)) - rows:
            raise WorkersFailed(f"{missing:,} rows did not come back from the Ray cluster.", hint=_LOGS)
        threads = LOCAL * embedders
        return {"look up": embedders, "read": threads, "decode": threads, "embed": embedders, "write": machines}


def require_server(milvus: MilvusSettings) -> None:
    """Raise InvalidSetting for Milvus Lite, before it is opened."""
    if milvus.is_lite:
        raise InvalidSetting(
            "--engine ray needs a Milvus server: Milvus Lite belongs to one process, and Ray has many workers.",
            hint="Give the server's address (--uri http://HOST:19530), or run without --engine ray.",
        )


def _hand_over(item: Batch | Confirmed, job: IngestJob) -> int:
    if isinstance(item, Confirmed):
        count = len(item.lines)
        job.writer.record(item)
    else:
        count = len(item)
        job.writer.put(item)
    job.advance(count)
    return count


@contextmanager
def _cluster() -> Iterator[None]:
    address = os.environ.get("RAY_ADDRESS", "local")
    if address.startswith("ray://"):
        raise InvalidSetting(
            f"RAY_ADDRESS {address} is a Ray client address, and Ray Client cannot stream data.",
            hint="Run this on a machine of the cluster, with RAY_ADDRESS=HOST:6379 or auto.",
        )
    before = signal.getsignal(signal.SIGTERM)
    try:
        _require_listener(address)
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RayError, RuntimeError, ValueError) as error:
        raise WorkersFailed(
            f"No Ray cluster answers at {address}: {error}",
            hint="Is it running, and is RAY_ADDRESS right? Without RAY_ADDRESS, one is started on this machine.",
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray's own handler would end the process without a report
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = 1  # batches are never joined, or one worker would get all of them
    context.enable_progress_bars = False  # the command shows its own
    context.print_on_execution_start = False
    context.raise_original_map_exception = True
    for noisy in ("ray", "ray.data"):  # errors are raised as well
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        ray.shutdown()


def _require_listener(address: str) -> None:
    """Raise OSError if nothing listens at the address: Ray itself would retry for minutes."""
    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()


@contextmanager
def _worker_messages(job: IngestJob) -> Iterator[Any]:
    """A function with which workers show a line here; a line that several workers send is shown once."""
    lines = Queue(actor_options={"num_cpus": 0})
    stop = threading.Event()

    def listen() -> None:
        shown: set[str] = set()
        while not stop.is_set():
            try:
                line = lines.get(timeout=0.5)
            except Empty:
                continue
            except RayError:
                return
            if line not in shown:
                shown.add(line)
                job.retry.say(line)

    listener = threading.Thread(target=listen, daemon=True, name="worker messages")
    listener.start()
    try:
        yield lines.put
    finally:
        stop.set()
        listener.join()


def _size() -> tuple[int, int]:
    """Count the machines that take work, and the GPUs of all machines."""
    nodes = ray.nodes()
    alive = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("CPU")]
    return max(1, len(alive)), int(sum(resources.get("GPU", 0) for resources in alive))


def _rows(job: IngestJob) -> Any:
    # The tables are on this machine, copied or not; this process keeps the copies until the run ends.
    export = replace(job.export, source=replace(job.export.source, copies=None))
    return ray.data.read_datasource(
        Rows(export, ray.put(job.done), job.settings.batch_size),
        override_num_blocks=1,
        num_cpus=0,
        label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},
    )


def _results(dataset: Any) -> Iterator[tuple[Batch | Confirmed, dict[str, float]]]:
    try:
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from from_table(table)
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, MarketlensError):
            raise cause from error
        raise WorkersFailed(f"A worker of the Ray cluster failed: {cause!r}", hint=_LOGS) from error
    except RayError as error:
        raise WorkersFailed(f"The Ray cluster failed: {error}", hint=_LOGS) from error


_LOGS = "Ray's logs, in /tmp/ray/session_latest/logs of its machines, say more. Then run again with --resume."

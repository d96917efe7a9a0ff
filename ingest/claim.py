"""One ingest at a time: a claim in the collection's properties, for a server that many machines write to.

Milvus Lite needs no claim: its database belongs to one process. Milvus has no compare-and-swap on properties, so a
claim is written and read back; if two are written at once, the last one wins. A claim is alive while its counter moves,
so the clocks of two machines are never compared.
"""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from catalog.errors import IngestRunning, MarketlensError
from catalog.runs.claim_watch import BEAT_SECONDS, CLAIM
from catalog.runs.report import Report
from catalog.store.collection import PhotoCollection

_SETTLE_SECONDS = 0.5


@contextmanager
def hold_claim(collection: PhotoCollection, report: Report) -> Iterator[None]:
    """Keep other ingests out of this collection. Raises IngestRunning, which names the other run."""
    if collection.is_lite:
        yield
        return
    if other := _read(collection):
        _require_dead(collection, other)
    mine = {"run": report.run_id, "host": report.host, "process": report.process, "beat": 0}
    _write(collection, mine)
    time.sleep(_SETTLE_SECONDS)
    if (other := _read(collection)) and other != mine:  # compared whole: two may be resuming the same run
        raise _ingest_running_error(other)
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(collection, mine, stop), daemon=True, name="claim")
    heart.start()
    try:
        yield
    finally:
        stop.set()
        heart.join()
        # If Milvus does not answer, the next ingest sees that this process is gone or that the counter stopped.
        with suppress(MarketlensError):
            collection.notes.set(CLAIM, "")


def _beat(collection: PhotoCollection, mine: dict[str, Any], stop: threading.Event) -> None:
    while not stop.wait(BEAT_SECONDS):
        try:
            _write(collection, mine | {"beat": mine["beat"] + 1})
            mine["beat"] += 1
        except MarketlensError:
            continue  # Milvus does not answer: the writer waits for it, and so does this thread


def _require_dead(collection: PhotoCollection, other: dict[str, Any]) -> None:
    if other["host"] == socket.gethostname() and not psutil.pid_exists(other["process"]):
        return
    time.sleep(2 * BEAT_SECONDS)
    if (now := _read(collection)) and now != other:
        raise _ingest_running_error(now)


def _ingest_running_error(other: dict[str, Any]) -> IngestRunning:
    return IngestRunning(
        f"The run {other['run']} (process {other['process']} on {other['host']}) is writing to this catalogue.",
        hint="Wait until it has finished, or stop it: `marketlens ingest status` shows the runs.",
    )


def _read(collection: PhotoCollection) -> dict[str, Any] | None:
    text = collection.notes.get(CLAIM)
    return json.loads(text) if text else None


def _write(collection: PhotoCollection, claim: dict[str, Any]) -> None:
    collection.notes.set(CLAIM, json.dumps(claim))

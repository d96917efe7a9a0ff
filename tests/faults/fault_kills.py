"""kill -9 at random moments. The tests of ingest and of the server are those of `make test`, with more kills."""

import itertools
import json
import random
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil
import pytest

from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from tests.commands import test_kills
from tests.commands.test_kills import clean
from tests.faults.reliability import record
from tests.server import test_milvus_lost, test_waiting
from tests.support.commands import COMMAND, marketlens
from tests.support.dashboard.browser import process
from tests.support.data.exports import MakeExport, write_export
from tests.support.data.pictures import jpeg, picture
from tests.support.servers.milvus_server import free_ports

__all__ = ["clean"]  # the fixture of test_kill


@pytest.mark.parametrize("resume", [False, True])
def test_ingest(clean: Path, tmp_path: Path, random_model: Path, resume: bool) -> None:
    """An ingest that is killed repeatedly and then completed gives the same collection as a clean run."""
    test_kills.test_kill(clean, tmp_path, random_model, resume)
    record(
        f"kill -9 of ingest on Lite{', resumed with --resume' if resume else ''}",
        {
            "promised": "after a rerun, nothing is lost or duplicated",
            "observed": f"{test_kills.KILLS} kills; then ids, texts, hashes and embeddings equal those of a clean run",
            "lost": 0,
            "doubled": 0,
            "recovery": "run the same command again",
        },
    )


def test_server_under_an_ingest(make_export: MakeExport, tmp_path: Path) -> None:
    """The server is killed in the middle of a run and started again: the run waits for it."""
    test_waiting.test_killed_and_started_again(make_export, tmp_path, "photos_killed")
    record(
        "kill -9 of the Milvus server under an ingest",
        {
            "promised": "the run waits up to INGEST__WAIT_SECONDS; nothing is lost or duplicated",
            "observed": "the run reported it once, continued and ended with every photo confirmed and counted",
            "lost": 0,
            "doubled": 0,
            "recovery": "automatic, when the server is back",
        },
    )


def test_server_under_searches(make_export: MakeExport, tmp_path: Path) -> None:
    """The server is killed under many clients: they get right answers or 503."""
    test_milvus_lost.test_every_answer_is_right_or_503(make_export, tmp_path)
    record(
        "kill -9 of the Milvus server under searches",
        {
            "promised": "every answer is right, or 503 with Retry-After; none hangs",
            "observed": f"{test_milvus_lost.CLIENTS} clients, {test_milvus_lost.SECONDS} s: only right answers and 503",
            "lost": 0,
            "doubled": 0,
            "recovery": "automatic, when the server searches again",
        },
    )


def test_api_under_changes(tmp_path: Path, random_model: Path) -> None:
    """The service, and Lite with it, is killed while listings are put and deleted: confirmed changes persist."""
    write_export(tmp_path / "export", 4)
    assert marketlens("ingest", tmp_path / "export", "--model", random_model, cwd=tmp_path).returncode == 0
    chance = random.Random(time.time_ns())  # noqa: S311 - moments, no secrets
    confirmed: dict[str, int] = {}
    for number in range(test_kills.KILLS):
        port = free_ports(1)[0]
        url = f"http://127.0.0.1:{port}"
        command = [COMMAND, "serve", "--model", random_model, "--port", port]
        with process(command, tmp_path, f"{url}/readyz"):
            service = next(child for child in psutil.Process().children() if str(port) in child.cmdline())
            threading.Timer(chance.uniform(0.5, 4), service.kill).start()
            for turn in itertools.count():
                listing = f"k{number}-{turn % 5}"
                photo_count = 0 if turn % 3 == 2 and confirmed.get(listing) else 3
                confirmed.pop(listing, None)
                if not change(f"{url}/v1/listings/{listing}", photo_count, turn):
                    break  # killed: the outcome of this change is open
                confirmed[listing] = photo_count
    milvus = MilvusSettings(uri=str(tmp_path / "data" / "milvus.db"))
    photos = PhotoCollection.connect(milvus, IndexSettings(), consistency="Session")
    ids = list(photos.reader.ids())
    stored_counts = Counter(listing for _, listing in ids)
    wrong = [listing for listing, count in confirmed.items() if stored_counts[listing] != count]
    stored = photos.reader.stored([photo_id for photo_id, _ in ids]).values()
    photos.close()
    assert wrong == []
    assert all(Path(row.photo.uri).exists() for row in stored), "a record without its photo"
    assert len(ids) == len(set(ids))
    record(
        "kill -9 of the API, and Lite with it, under changes",
        {
            "promised": "confirmed changes persist; no listing without its photos' files",
            "observed": f"{test_kills.KILLS} kills; {len(confirmed)} confirmed states persisted, each photo had a file",
            "lost": 0,
            "doubled": 0,
            "recovery": "restart; a file without a listing may be left",
        },
    )


def change(address: str, photos: int, seed: int) -> bool:
    """Put a listing with `photos` photos, or delete it if 0; return whether the change was confirmed."""
    try:
        if not photos:
            return httpx.delete(address, timeout=60).is_success
        files = [("photo", ("p.jpg", jpeg(picture(seed + number)))) for number in range(photos)]
        listing_id = address.rsplit("/", 1)[1]
        entries = [{"photo_id": f"{listing_id}-{number}", "upload": number} for number in range(photos)]
        return httpx.put(address, files=files, data={"listing": json.dumps({"photos": entries})}, timeout=60).is_success
    except httpx.HTTPError:
        return False

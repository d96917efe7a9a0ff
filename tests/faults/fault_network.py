"""A network to Milvus that is slow, silent, or breaks repeatedly."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from catalog.exports.export import open_export
from catalog.runs.report import Report
from catalog.settings import ApiSettings, IndexSettings, IngestSettings, MilvusSettings, Settings
from catalog.store.collection import PhotoCollection
from ingest.engines.local import run_locally
from ingest.run import IngestJob, ingest
from search_api.app import create_app
from tests.faults.helpers import ids_of, lost_and_doubled
from tests.faults.reliability import record
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport
from tests.support.data.models import FakeEngine, LoadedModel, fake_embedder
from tests.support.servers.proxy import Proxy, proxied
from tests.support.servers.serving import judge, serving


@pytest.fixture
def proxied_milvus(milvus_server: str) -> Iterator[tuple[MilvusSettings, Proxy]]:
    """A Milvus behind a proxy, with the test's own catalogue."""
    with proxied(milvus_server) as (uri, proxy):
        yield MilvusSettings(uri=uri, alias=f"photos_{uuid4().hex[:8]}", timeout=3), proxy


def test_under_searches(proxied_milvus: tuple[MilvusSettings, Proxy], make_export: MakeExport, tmp_path: Path) -> None:
    """Slow network: right answers, later. Silent or cut: 503 within the time limits. Restored: right answers again."""
    milvus, proxy = proxied_milvus
    photos = PhotoCollection.connect(milvus, IndexSettings())
    ingest_export(make_export(listings=10), fake_embedder(), photos)
    photos.reader.wait_for_scan_lag()
    ids = ids_of(10)
    vectors = photos.reader.embeddings(ids)
    app = create_app(Settings(api=ApiSettings(keys=tmp_path / "keys.json", recall_seconds=0)), fake_embedder(), photos)
    outcomes: dict[str, Counter[str]] = {}
    slowest = 0.0

    def search(url: str, name: str, times: int = 10) -> Counter[str]:
        nonlocal slowest
        for number in range(times):
            photo = number % len(ids)
            message = {"embedding": vectors[photo].tolist(), "limit": 3, "group_by": "photo"}
            started = time.monotonic()
            answer = httpx.post(f"{url}/v1/search", json=message, timeout=60)
            slowest = max(slowest, time.monotonic() - started)
            outcomes.setdefault(name, Counter())[judge(answer, ids[photo])] += 1
        return outcomes[name]

    with serving(app) as url:
        assert set(search(url, "working")) == {"right"}
        proxy.delay = 0.1
        assert set(search(url, "delayed")) == {"right"}
        proxy.delay, proxy.silent = 0.0, True
        assert set(search(url, "silent", 3)) == {"503"}
        proxy.silent = False
        proxy.cut()
        assert set(search(url, "cut", 3)) == {"503"}
        proxy.restore()
        deadline = time.monotonic() + 60
        while search(url, "recovering", 1)["right"] == 0:
            assert time.monotonic() < deadline
        assert set(search(url, "recovered")) == {"right"}
    assert set(outcomes["recovering"]) <= {"right", "503"}
    assert slowest < 20
    record(
        "slow, silent and cut connections to Milvus under searches",
        {
            "promised": "right answers, or 503 within the time limits",
            "observed": f"delayed by 100 ms: all right; silent, cut: all 503; the slowest answer took {slowest:.0f} s",
            "lost": 0,
            "doubled": 0,
            "recovery": "automatic, when the network works again",
        },
    )


def test_breaking_under_an_ingest(
    proxied_milvus: tuple[MilvusSettings, Proxy], make_export: MakeExport, milvus_server: str, tmp_path: Path
) -> None:
    """Connections break at random moments: the run waits and continues; every photo is stored once."""
    milvus, proxy = proxied_milvus
    photos = PhotoCollection.connect(milvus, IndexSettings(), consistency="Session")
    stop, breaks = threading.Event(), 0

    def break_connections() -> None:
        nonlocal breaks
        chance = random.Random(time.time_ns())  # noqa: S311 - moments, no secrets
        while not stop.wait(chance.uniform(0.2, 2)):
            proxy.cut()
            breaks += 1
            time.sleep(chance.uniform(0, 1))
            proxy.restore()

    export, report = make_export(listings=60), Report(export="e")
    settings = IngestSettings(batch_size=8, ledger=tmp_path / "ledger", wait_seconds=240)
    breaker = threading.Thread(target=break_connections)

    class StartsBreaks(FakeEngine):
        def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            if not self.photos:
                breaker.start()  # a run that cannot reach Milvus at its start would end
            time.sleep(0.5)
            return super().run(pixels)

    embedder = fake_embedder()
    embedder._engine = StartsBreaks()
    try:
        model = LoadedModel(embedder)
        ingest(run_locally, IngestJob(open_export(str(export)), model, photos, settings, report, lambda _: None, print))
    finally:
        stop.set()
        breaker.join()
        photos.close()
    direct = PhotoCollection.connect(milvus.model_copy(update={"uri": milvus_server}), IndexSettings())
    lost, doubled = lost_and_doubled(direct, ids_of(60))
    direct.close()
    assert (lost, doubled, report.written) == (0, 0, 120)
    record(
        "connections to Milvus that break under an ingest",
        {
            "promised": "a run that has begun waits; nothing is lost or duplicated",
            "observed": f"{breaks} breaks; the run ended with 120 of 120 photos",
            "lost": lost,
            "doubled": doubled,
            "recovery": "automatic",
        },
    )

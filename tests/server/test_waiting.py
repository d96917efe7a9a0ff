"""A Milvus that becomes unavailable in the middle of a run."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from numpy.typing import NDArray

import catalog.store.writer
from catalog.errors import StoreFailed, StoreUnreachable
from catalog.exports.export import open_export
from catalog.runs.ledger import Ledger
from catalog.runs.report import Report
from catalog.settings import IndexSettings, IngestSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from ingest.engines.local import run_locally
from ingest.run import IngestJob, ingest
from marketlens.terminal import sigterm_as_interrupt
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport
from tests.support.data.models import FakeEngine, LoadedModel, fake_embedder
from tests.support.servers.milvus_server import PackageServer
from tests.support.servers.proxy import Proxy, proxied


class CuttingEngine(FakeEngine):
    """Cuts the network at the third batch."""

    def __init__(self, proxy: Proxy, restore_after: float | None) -> None:
        super().__init__()
        self._proxy = proxy
        self._restore_after = restore_after
        self.batches = 0

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batches += 1
        if self.batches == 3:
            self._proxy.cut()
            if self._restore_after is not None:
                threading.Timer(self._restore_after, self._proxy.restore).start()
        return super().run(pixels)


@pytest.fixture
def alias() -> str:
    return f"photos_{uuid4().hex[:8]}"


@pytest.fixture
def proxied_milvus(milvus_server: str) -> Iterator[tuple[str, Proxy]]:
    with proxied(milvus_server) as address_and_proxy:
        yield address_and_proxy


def run(
    export: Path,
    proxied_milvus: tuple[str, Proxy],
    alias: str,
    *,
    restore_after: float | None,
    wait: float,
    on_message: Callable[[str], None] = lambda _: None,
) -> tuple[Report, list[str]]:
    uri, proxy = proxied_milvus
    embedder = fake_embedder()
    embedder._engine = CuttingEngine(proxy, restore_after)
    settings = IngestSettings(batch_size=5, ledger=export.parent / "ledger", wait_seconds=wait)
    photos = PhotoCollection.connect(
        MilvusSettings(uri=uri, alias=alias, timeout=2), IndexSettings(), consistency="Session"
    )
    report, messages = Report(export=str(export)), []

    def say(text: str) -> None:
        messages.append(text)
        on_message(text)

    try:
        model = LoadedModel(embedder)
        ingest(run_locally, IngestJob(open_export(export), model, photos, settings, report, lambda _: None, say))
    except StoreUnreachable:
        assert report.state == "failed"
    finally:
        photos.close()
    return report, messages


def count(milvus_server: str, alias: str) -> int:
    photos = PhotoCollection.connect(
        MilvusSettings(uri=milvus_server, alias=alias), IndexSettings(), consistency="Session"
    )
    try:
        return photos.reader.count(strong=True)
    finally:
        photos.close()


def test_a_run_waits_for_milvus(
    make_export: MakeExport, milvus_server: str, proxied_milvus: tuple[str, Proxy], alias: str
) -> None:
    """A run waits for a Milvus that comes back: it reports that, continues, and every photo is stored once."""
    report, messages = run(make_export(listings=20), proxied_milvus, alias, restore_after=3.0, wait=120)
    assert (report.state, report.written, report.photos) == ("finished", 40, 40)
    assert any("Retrying for up to" in message for message in messages)
    assert count(milvus_server, alias) == 40


def test_waiting_is_limited(
    make_export: MakeExport, milvus_server: str, proxied_milvus: tuple[str, Proxy], alias: str
) -> None:
    """A Milvus that stays away ends the run; ledger and report contain exactly the confirmed photos."""
    export = make_export(listings=20)
    report, _ = run(export, proxied_milvus, alias, restore_after=None, wait=1)
    assert report.state == "failed"
    stored = count(milvus_server, alias)
    assert report.written <= stored < 40  # confirmed photos are stored; those in progress may be
    (failed,) = Ledger(export.parent / "ledger").runs()
    assert (failed.state, failed.written) == ("failed", report.written)


def test_a_signal_ends_the_waiting(
    make_export: MakeExport,
    milvus_server: str,
    proxied_milvus: tuple[str, Proxy],
    alias: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGTERM while Milvus is away stops the run at once; the ledger contains the confirmed photos."""
    monkeypatch.setattr(catalog.store.writer, "WRITE_SECONDS", 2.0)  # pymilvus retries a running upsert for so long
    export, wait, stopped_at = make_export(listings=20), 120, []

    def stop(_: str) -> None:
        if not stopped_at:
            stopped_at.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGTERM)

    with sigterm_as_interrupt(), pytest.raises(KeyboardInterrupt):
        run(export, proxied_milvus, alias, restore_after=None, wait=wait, on_message=stop)
    assert time.monotonic() - stopped_at[0] < wait / 2
    (stopped,) = Ledger(export.parent / "ledger").runs()
    assert stopped.state == "stopped"
    assert stopped.written <= count(milvus_server, alias) < 40


@pytest.mark.slow
def test_killed_and_started_again(make_export: MakeExport, tmp_path: Path, alias: str) -> None:
    """Milvus is killed in the middle of a run and started again: nothing is lost or duplicated."""
    server = PackageServer(tmp_path)
    server.start()
    restart = threading.Timer(5.0, lambda: server.start(wait=False))

    class KillingEngine(FakeEngine):
        def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            if self.photos == 10:
                server.kill()
                restart.start()
            return super().run(pixels)

    try:
        export, embedder = make_export(listings=20), fake_embedder()
        embedder._engine = KillingEngine()
        photos = PhotoCollection.connect(
            MilvusSettings(uri=server.uri, alias=alias), IndexSettings(), consistency="Session"
        )
        report, messages = Report(export=str(export)), []
        settings = IngestSettings(batch_size=5, ledger=tmp_path / "ledger", wait_seconds=240)
        model = LoadedModel(embedder)
        ingest(
            run_locally,
            IngestJob(open_export(export), model, photos, settings, report, lambda _: None, messages.append),
        )
        assert (report.state, report.written, report.photos) == ("finished", 40, 40)
        photos.reader.wait_for_scan_lag()
        assert len(list(photos.reader.ids())) == len(set(photos.reader.ids())) == 40
        assert any("Retrying for up to" in message for message in messages)
        photos.close()
    finally:
        restart.cancel()
        server.stop()


def test_full_disk(make_export: MakeExport, tmp_path: Path) -> None:
    """A full disk ends the run with an error; once there is space again, the next run completes the export."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk (root)")
    try:
        photos = PhotoCollection.connect(
            MilvusSettings(uri=str(disk / "photos.db")), IndexSettings(), consistency="Session"
        )
        export = make_export(listings=200)
        with pytest.raises(StoreFailed, match="No space left") as failure:
            ingest_export(export, fake_embedder(), photos, batch_size=50)
        assert "Free disk space" in failure.value.hint
        (failed,) = Ledger(export.parent / "ledger").runs()
        assert failed.state == "failed"
        assert 0 < failed.written <= photos.reader.count() < 400
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        report = ingest_export(export, fake_embedder(), photos, batch_size=50)
        assert report.written + report.unchanged == photos.reader.count() == 400
        assert report.unchanged >= failed.written
        photos.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)

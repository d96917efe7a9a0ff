"""A clock that jumps by a year, forward and back."""

import sys
import time
from pathlib import Path

import pytest

from catalog.runs.claim_watch import ClaimWatch
from catalog.runs.ledger import Ledger
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from search_api.auth.api_keys import KeyRing, create_key
from search_api.auth.signed_urls import PhotoUrls
from search_api.middleware.authentication import RateLimit
from tests.faults.helpers import ids_of, lost_and_doubled
from tests.faults.reliability import record
from tests.support.data.builds import new_build
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport

YEAR = 365 * 86_400


def test_jumps(
    make_export: MakeExport,
    embedder: Embedder,
    photos: PhotoCollection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ingest, builds, claims, signatures and rate limits work while the clock jumps a year ahead and two years back."""
    export = make_export(listings=10)
    create_key(tmp_path / "keys.json", "shop", "read")
    urls = PhotoUrls(KeyRing(tmp_path / "keys.json", public=False), 86_400)
    limit, watch = RateLimit("3/minute"), ClaimWatch()
    assert limit.item
    runs = [ingest_export(export, embedder, photos).run_id]
    builds = [photos.builds.live().build]
    real, ahead = time.time, 0.0

    def shifted_time() -> float:
        # gRPC passes deadlines to its core, which uses the real clock.
        caller = sys._getframe(1).f_globals.get("__name__", "")
        return real() if caller.startswith("grpc") else real() + ahead

    monkeypatch.setattr(time, "time", shifted_time)
    for jump in (YEAR, -2 * YEAR):
        assert [limit.count(limit.item, f"key {jump}")[0] for _ in range(4)] == [True] * 3 + [False]
        assert watch.is_alive("beat", time.monotonic())
        ahead += jump
        assert limit.count(limit.item, f"key {jump}")[0]
        assert watch.is_alive("beat", time.monotonic())
        report = ingest_export(export, embedder, photos)
        assert (report.unchanged, report.photos) == (20, 20)
        runs.append(report.run_id)
        signature = urls.url("l1-0").partition("signature=")[2]
        assert urls.is_valid("l1-0", signature)
        builds.append(new_build(photos).build)
    assert builds == sorted(set(builds))
    assert [run.run_id for run in Ledger(export.parent / "ledger").runs()] == runs[::-1]
    lost, doubled = lost_and_doubled(photos, ids_of(10))
    assert (lost, doubled) == (0, 0)
    record(
        "clock a year ahead, then two years back",
        {
            "promised": "claims do not compare clocks; the newest build and run are those created last",
            "observed": "nothing embedded again; claims, rate limits and the order of builds and runs unaffected",
            "lost": lost,
            "doubled": doubled,
            "recovery": "automatic; signed photo addresses issued before expire early, new responses have new ones",
        },
    )

"""As many broken photos as good ones."""

import os
import random

from PIL import Image

from catalog.errors import PhotoUnusable
from catalog.runs.ledger import Ledger
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from embedding.photos import open_photo
from tests.faults.helpers import ids_of, lost_and_doubled
from tests.faults.reliability import record
from tests.support.data.broken_photos import KINDS
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport

# Number of good photos, and of broken ones; MARKETLENS_TEST_BROKEN changes it.
PHOTOS = int(os.environ.get("MARKETLENS_TEST_BROKEN", "10000"))


def is_photo(data: bytes) -> bool:
    try:
        return isinstance(open_photo(data), Image.Image)
    except PhotoUnusable:
        return False


def test_broken_among_good(make_export: MakeExport, embedder: Embedder, photos: PhotoCollection) -> None:
    """Each broken photo is rejected with its reason, each good one is written; no photo ends the run."""
    export = make_export(listings=PHOTOS, photos_each=2)
    good = set(ids_of(PHOTOS, 1))
    for number in range(PHOTOS):
        data = KINDS[number % len(KINDS)](random.Random(number))  # noqa: S311 - the same files each time
        (export / "images" / f"l{number}-1.jpg").write_bytes(data)
        if is_photo(data):  # some broken files are readable after all
            good.add(f"l{number}-1")
    report = ingest_export(export, embedder, photos)
    lost, doubled = lost_and_doubled(photos, good)
    assert (lost, doubled) == (0, 0)
    assert (report.read, report.written, report.photos) == (2 * PHOTOS, len(good), len(good))
    rows, total = Ledger(export.parent / "ledger").find(report.run_id).rejected(0, 2 * PHOTOS)
    assert total == len(rows) == report.rejected == 2 * PHOTOS - len(good)
    assert all(row.reason and row.detail for row in rows)
    record(
        f"{PHOTOS:,} broken photos among {PHOTOS:,} good ones",
        {
            "promised": "an unreadable photo does not end a run; each is listed with its reason",
            "observed": f"{len(good):,} written ({len(good) - PHOTOS:,} of the broken ones are readable), "
            f"{total:,} rejected for {len({row.reason for row in rows})} different reasons",
            "lost": lost,
            "doubled": doubled,
            "recovery": "not needed",
        },
    )

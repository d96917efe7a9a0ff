"""--sync makes the collection match the export; a broken export does not empty it."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport
from tests.support.data.models import FakeEngine


def drop_listing(export: Path, listing: str) -> None:
    for name in ("Products.csv", "Images.csv"):
        table = export / name
        rows = [line for line in table.read_text().splitlines() if f",{listing}," not in f"{line},"]
        table.write_text("\n".join(rows) + "\n")


def test_a_missing_listing_is_removed(make_export: MakeExport, embedder: Embedder, photos: PhotoCollection) -> None:
    """With --sync the photos of a missing listing are removed and recorded in the ledger; without, they stay."""
    export = make_export(listings=10)
    ingest_export(export, embedder, photos)
    drop_listing(export, "l3")
    assert (ingest_export(export, embedder, photos).removed, photos.reader.count()) == (0, 20)
    report = ingest_export(export, embedder, photos, sync=True)
    assert (report.read, report.unchanged, report.removed, report.photos, photos.reader.count()) == (18, 18, 2, 18, 18)
    rows = pq.read_table(export.parent / "ledger" / report.run_id / "rows.parquet").to_pylist()
    assert {row["photo_id"] for row in rows if row["verdict"] == "removed"} == {"l3-0", "l3-1"}
    assert not photos.reader.stored(["l3-0", "l3-1"])


def test_too_many_photos_are_not_removed(make_export: MakeExport, embedder: Embedder, photos: PhotoCollection) -> None:
    """An incomplete export, such as a broken transfer leaves, removes nothing unless --max-removed allows it."""
    export = make_export(listings=10)
    ingest_export(export, embedder, photos)
    for number in range(3):
        drop_listing(export, f"l{number}")
    report = ingest_export(export, embedder, photos, sync=True)
    assert "6 of 20 photos (30.0%) of 3 listings would be removed" in report.sync_refused
    assert (report.removed, photos.reader.count()) == (0, 20)
    assert ingest_export(export, embedder, photos, sync=True, max_removed=0.3).removed == 6
    assert photos.reader.count() == 14


def test_a_rejected_row_still_names_its_photo(
    make_export: MakeExport, embedder: Embedder, photos: PhotoCollection
) -> None:
    """A photo that can no longer be read is not treated as removed from the export."""
    export = make_export(listings=10)
    ingest_export(export, embedder, photos)
    (export / "images" / "l0-0.jpg").unlink()
    report = ingest_export(export, embedder, photos, sync=True)
    assert (report.rejected, report.removed, photos.reader.count()) == (1, 0, 20)


def test_malformed_rows_stop_the_removal(make_export: MakeExport, embedder: Embedder, photos: PhotoCollection) -> None:
    """Nobody can tell which photo a malformed row stands for, so no photo is removed."""
    export = make_export(listings=10)
    ingest_export(export, embedder, photos)
    images = export / "Images.csv"
    images.write_text(images.read_text().replace(",l4-1,l4", ",l4-1,l4,torn"))
    report = ingest_export(export, embedder, photos, sync=True)
    assert "1 rows of the export are malformed" in report.sync_refused
    assert photos.reader.count() == 20


@pytest.mark.parametrize("stored", [False, True])
def test_a_dry_run_writes_nothing(
    make_export: MakeExport, embedder: Embedder, engine: FakeEngine, photos: PhotoCollection, stored: bool
) -> None:
    """--dry-run reports the counts of the real run, embeds nothing, and changes neither collection nor ledger."""
    export = make_export(listings=10)
    if stored:
        ingest_export(export, embedder, photos)
        drop_listing(export, "l3")
        products = export / "Products.csv"
        products.write_text(products.read_text().replace("£1.00", "£99.00"))
    embedded, runs_before = engine.photos, set((export.parent / "ledger").glob("*"))
    dry = ingest_export(export, embedder, photos, sync=True, dry_run=True)
    assert (engine.photos, set((export.parent / "ledger").glob("*"))) == (embedded, runs_before)
    assert not stored or photos.reader.count() == 20
    real = ingest_export(export, embedder, photos, sync=True)
    names = ("read", "embedded", "updated", "unchanged", "rejected", "removed")
    assert [getattr(dry, name) for name in names] == [getattr(real, name) for name in names]
    assert real.removed == (2 if stored else 0)

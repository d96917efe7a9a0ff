"""Ingest exports into a real Milvus Lite: no photo is lost or stored twice, and all counts add up."""

import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from catalog.errors import ModelMismatch, StoreFailed
from catalog.exports.export import open_export
from catalog.runs.report import Report
from catalog.settings import IngestSettings
from catalog.store.collection import PhotoCollection
from catalog.store.filters import SearchFilter
from embedding.embedder import Embedder
from embedding.photos import open_photo
from ingest.engines.local import run_locally
from ingest.run import IngestJob, ingest
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport, write_csv
from tests.support.data.models import FakeEngine, LoadedModel, fake_embedder, worded_embedder
from tests.support.data.pictures import jpeg, picture


def test_every_photo_of_an_export_is_written(
    make_export: MakeExport, embedder: Embedder, photos: PhotoCollection
) -> None:
    """Twelve rows of an export become twelve photos in the collection, with their listings' fields."""
    report = ingest_export(make_export(listings=6, photos_each=2), embedder, photos)
    assert (report.read, report.written, report.rejected) == (12, 12, 0)
    assert photos.reader.count() == 12
    listing = photos.reader.photo("l3-1").photo.listing
    assert (listing.title, listing.category, listing.subcategory) == ("Thing 3", "Garden", "Things")
    assert (listing.price, listing.currency, listing.location) == (4.0, "GBP", "Leeds, West Yorkshire")


def test_a_photo_finds_its_listing(make_export: MakeExport, embedder: Embedder, photos: PhotoCollection) -> None:
    """Ingest and query embed a photo identically: the same bytes are the first hit, with a score of 1."""
    export = make_export(listings=8, photos_each=2)
    ingest_export(export, embedder, photos)
    image = open_photo((export / "images" / "l5-1.jpg").read_bytes())
    hit = photos.reader.search(embedder.embed([image]), SearchFilter(), 3).hits[0]
    assert (hit.listing.listing_id, hit.photo_id) == ("l5", "l5-1")
    assert hit.score == pytest.approx(1.0, abs=1e-5)


def test_a_second_run_writes_and_embeds_nothing(
    make_export: MakeExport, embedder: Embedder, engine: FakeEngine, photos: PhotoCollection
) -> None:
    """Photos that are already stored are neither embedded nor written again."""
    export = make_export()
    ingest_export(export, embedder, photos)
    embedded, stored = engine.photos, photos.reader.photo("l0-0")
    report = ingest_export(export, embedder, photos)
    assert (report.written, report.unchanged) == (0, 12)
    assert engine.photos == embedded
    assert photos.reader.photo("l0-0") == stored


def test_a_new_price_is_written_without_embedding(
    make_export: MakeExport, embedder: Embedder, engine: FakeEngine, photos: PhotoCollection
) -> None:
    """Changed metadata updates every photo of the listing and keeps the embeddings."""
    export = make_export()
    ingest_export(export, embedder, photos)
    vector, embedded = photos.reader.embeddings(["l2-0"]), engine.photos
    products = export / "Products.csv"
    products.write_text(products.read_text().replace("£3.00", "£99.00"))
    report = ingest_export(export, embedder, photos)
    assert (report.written, report.updated, report.unchanged) == (2, 2, 10)
    assert engine.photos == embedded
    assert photos.reader.photo("l2-1").photo.listing.price == 99.0
    assert np.array_equal(photos.reader.embeddings(["l2-0"]), vector)


def test_the_first_ingest_dates_a_listing(
    make_export: MakeExport, embedder: Embedder, photos: PhotoCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the export has no dates, a listing keeps the time of its first ingest, whatever changes later."""
    export = make_export()
    monkeypatch.setattr("ingest.pipeline.time", SimpleNamespace(time=lambda: 1_600_000_000.0, monotonic=time.monotonic))
    ingest_export(export, embedder, photos)
    monkeypatch.setattr("ingest.pipeline.time", SimpleNamespace(time=lambda: 1_700_000_000.0, monotonic=time.monotonic))
    assert ingest_export(export, embedder, photos).unchanged == 12
    products = export / "Products.csv"
    products.write_text(products.read_text().replace("£3.00", "£99.00"))
    (export / "images" / "l0-0.jpg").write_bytes(jpeg(picture(77)))
    shutil.copy(export / "images" / "l1-0.jpg", export / "images" / "l1-9.jpg")
    with (export / "Images.csv").open("a") as images:
        images.write("99,l1-9,l1\n")
    assert ingest_export(export, embedder, photos).written == 4
    assert {record.photo.listing.listed_at for batch in photos.reader.records() for record in batch} == {1_600_000_000}


def test_new_bytes_are_embedded_again(
    make_export: MakeExport, embedder: Embedder, engine: FakeEngine, photos: PhotoCollection
) -> None:
    """A photo whose bytes are replaced under the same id gets a new embedding and is stored once."""
    export = make_export()
    ingest_export(export, embedder, photos)
    embedded = engine.photos
    (export / "images" / "l0-0.jpg").write_bytes(jpeg(picture(77)))
    report = ingest_export(export, embedder, photos)
    assert (report.written, report.embedded, report.unchanged) == (1, 1, 11)
    assert (engine.photos, photos.reader.count()) == (embedded + 1, 12)


def spoil(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "bomb":
        Image.new("1", (20_000, 20_000)).save(path, "PNG")
    elif how == "pixel":
        Image.new("RGB", (1, 1)).save(path, "JPEG")
    elif how == "gone":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "text": b"I am no photo.\n"}[how])


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("empty", "empty"),
        ("cut", "truncated"),
        ("text", "not_an_image"),
        ("pixel", "too_small"),
        ("bomb", "too_many_pixels"),
        ("gone", "missing"),
    ],
)
def test_one_bad_photo_never_ends_the_run(
    make_export: MakeExport, embedder: Embedder, photos: PhotoCollection, how: str, reason: str
) -> None:
    """An unusable photo is rejected with its row and reason; all others are written."""
    export = make_export()
    spoil(export / "images" / "l1-0.jpg", how)
    report = ingest_export(export, embedder, photos)
    assert (report.written, report.rejected) == (11, 1)
    row = report.rejected_rows[0]
    assert (row.photo_id, row.listing_id, row.reason, row.row) == ("l1-0", "l1", reason, "Images.csv row 4")
    assert photos.reader.count() == 11


def test_a_photo_that_becomes_unreadable_keeps_its_record(
    make_export: MakeExport, embedder: Embedder, photos: PhotoCollection
) -> None:
    """A stored photo that can no longer be read is rejected, but stays in the collection."""
    export = make_export()
    ingest_export(export, embedder, photos)
    spoil(export / "images" / "l1-0.jpg", "cut")
    report = ingest_export(export, embedder, photos)
    assert (report.unchanged, report.rejected) == (11, 1)
    assert photos.reader.count() == 12


def test_an_id_that_appears_twice_is_stored_once(
    make_export: MakeExport, embedder: Embedder, photos: PhotoCollection
) -> None:
    """The first row of an id is written; the second is rejected as a duplicate, even in another batch."""
    export = make_export()
    with (export / "Images.csv").open("a") as file:
        file.write("99,l0-0,l5\n")
    report = ingest_export(export, embedder, photos, batch_size=3)
    assert (report.read, report.written, report.rejected) == (13, 12, 1)
    assert report.rejected_rows[0].reason == "duplicate_photo_id"
    assert photos.reader.photo("l0-0").photo.listing.listing_id == "l0"


def test_an_invalid_price_is_stored_as_unknown_with_one_warning(
    make_export: MakeExport, embedder: Embedder, photos: PhotoCollection
) -> None:
    """A price that is not a number loses no listing: it is stored as unknown, with one warning for both photos."""
    export = make_export()
    products = export / "Products.csv"
    products.write_text(products.read_text().replace("£2.00", "free"))
    report = ingest_export(export, embedder, photos)
    assert (report.written, report.rejected) == (12, 0)
    assert report.warnings == ["listing l1: price 'free' is not a number; stored as unknown"]
    assert photos.reader.photo("l1-0").photo.listing.price is None


def test_two_listings_may_share_a_photo(make_export: MakeExport, embedder: Embedder, photos: PhotoCollection) -> None:
    """A photo is identified by its id: the same bytes under two ids are two photos, and both listings are found."""
    export = make_export(listings=3, photos_each=1)
    shutil.copy(export / "images" / "l0-0.jpg", export / "images" / "l1-0.jpg")
    ingest_export(export, embedder, photos)
    image = open_photo((export / "images" / "l0-0.jpg").read_bytes())
    hits = photos.reader.search(embedder.embed([image]), SearchFilter(), 2).hits
    assert {hit.listing.listing_id for hit in hits} == {"l0", "l1"}


def test_another_model_writes_nothing(make_export: MakeExport, embedder: Embedder, photos: PhotoCollection) -> None:
    """An ingest with another model stops before the first write."""
    export = make_export(listings=2)
    ingest_export(export, embedder, photos)
    other = make_export(listings=4, name="other")
    with pytest.raises(ModelMismatch):
        ingest_export(other, fake_embedder("0f" * 32), photos)
    assert photos.reader.count() == 4


def test_confirmed_photos_are_reported_after_a_failure(
    make_export: MakeExport, embedder: Embedder, photos: PhotoCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Milvus refuses a write midway, the report counts exactly the stored photos; a second run writes the rest."""
    export = make_export(listings=10, photos_each=1)
    upsert, calls = photos.writer.upsert, []

    def refuse_the_third(*arguments: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise StoreFailed("disk full")
        upsert(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(photos.writer, "upsert", refuse_the_third)
    report = Report(export=str(export))
    with pytest.raises(StoreFailed):
        model, settings = LoadedModel(embedder), IngestSettings(batch_size=3, ledger=export.parent / "ledger")
        ingest(run_locally, IngestJob(open_export(export), model, photos, settings, report, lambda _: None, print))
    assert (report.written, report.finished) == (photos.reader.count(), False)
    assert report.written == 6
    second = ingest_export(export, embedder, photos)
    assert (second.unchanged, second.written, photos.reader.count()) == (6, 4, 10)


def test_a_manifest_is_an_export(tmp_path: Path, embedder: Embedder, photos: PhotoCollection) -> None:
    """A manifest's relative photo paths start at its own folder."""
    (tmp_path / "a.png").write_bytes(jpeg(picture(1)))
    header = ["photo_id", "listing_id", "title", "category", "price", "currency", "location", "photo"]
    write_csv(tmp_path / "m.csv", header, [["p", "l", "T", "C / S", "5", "eur", "Rome", "a.png"]])
    assert ingest_export(tmp_path / "m.csv", embedder, photos).written == 1
    listing = photos.reader.photo("p").photo.listing
    assert (listing.category, listing.subcategory, listing.price, listing.currency) == ("C", "S", 5.0, "EUR")


def test_lost_rows_are_counted(make_export: MakeExport, embedder: Embedder, photos: PhotoCollection) -> None:
    """Rows that the store lost silently are counted as lost, and the next ingest writes them again."""
    export = make_export()
    ingest_export(export, embedder, photos)
    assert photos.notes.lost() == 0
    photos.writer.remove(["l0-0", "l0-1"])
    assert photos.notes.lost() == 2
    report = ingest_export(export, embedder, photos)
    assert (report.written, report.unchanged, photos.notes.lost()) == (2, 10, 0)


def test_a_new_title_is_mixed_in_without_embedding(make_export: MakeExport, photos: PhotoCollection) -> None:
    """Photos are stored with their titles; a changed title changes the vector, and no photo is embedded again."""
    worded = worded_embedder()
    export = make_export()
    ingest_export(export, worded, photos)
    alone = worded.remove_titles(photos.reader.embeddings(["l2-0"]), ["Thing 2"])
    assert np.allclose(alone, worded.embed([Image.open(export / "images" / "l2-0.jpg")]), atol=1e-5)
    products = export / "Products.csv"
    products.write_text(products.read_text().replace("Thing 2 |", "old oak table |"))
    engine = FakeEngine()
    report = ingest_export(export, Embedder(worded.card, engine, words=worded.words), photos)
    assert (report.updated, engine.photos) == (2, 0)
    stored = photos.reader.embeddings(["l2-0"])
    assert np.allclose(stored, worded.add_titles(alone, ["old oak table"]), atol=1e-5)
    # A later ingest finds nothing to do, and the photo can still be recovered.
    assert ingest_export(export, worded, photos).unchanged == 12
    assert np.allclose(worded.remove_titles(stored, ["old oak table"]), alone, atol=1e-5)


def test_odd_titles(make_export: MakeExport, photos: PhotoCollection) -> None:
    """A title that is empty, of emoji alone, very long or in another script is stored; unknown ones change nothing."""
    worded = worded_embedder()
    export = make_export()
    products = export / "Products.csv"
    text = products.read_text()
    for number, title in enumerate(["", "🛋️🛋️", "oak " * 12_000, "東京の家具", "xyzzy"]):
        text = text.replace(f"Thing {number} |", f"{title} |")
    products.write_text(text)
    report = ingest_export(export, worded, photos)
    assert (report.written, report.rejected) == (12, 0)
    for number in (1, 3, 4):
        (stored,) = photos.reader.embeddings([f"l{number}-0"])
        (alone,) = worded.embed([Image.open(export / "images" / f"l{number}-0.jpg")])
        assert np.allclose(stored, alone, atol=1e-5)

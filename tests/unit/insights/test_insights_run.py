"""`marketlens insights` from the store to the reader, on real Milvus Lite."""

import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from catalog.errors import CollectionMissing, InsightsMissing, ModelMismatch, OutputFailed
from catalog.exports.export import MANIFEST_COLUMNS
from catalog.photo_files.hosts import FAILURES_IN_A_ROW, reader
from catalog.progress import silent
from catalog.settings import InsightsSettings
from catalog.store.collection import PhotoCollection
from embedding.card import Calibration
from embedding.embedder import Embedder
from insights import store
from insights.duplicates import edited_photos
from insights.run import run
from insights.store import Insights
from tests.support.catalogues import ingest_export
from tests.support.exports import MakeExport, write_csv
from tests.support.models import fake_embedder
from tests.support.pictures import jpeg, picture
from tests.support.web import Answer, Site


def look(photos: PhotoCollection, embedder: Embedder, folder: Path, map_photos: int = 1_000) -> Insights:
    settings = InsightsSettings(folder=folder, map_photos=map_photos)
    summary, path = run(photos, embedder, settings, read=reader(10_000_000, 0.2), progress=silent)
    assert path == folder / summary.collection / store.SUMMARY
    return Insights.open(folder, summary.collection)


def test_what_a_run_finds_is_read_back(
    photos: PhotoCollection, embedder: Embedder, make_export: MakeExport, tmp_path: Path
) -> None:
    """Every photo is in the table, in an order that stays; a file under two listings is a duplicate."""
    export = make_export(12)
    images = export / "images"
    shutil.copy2(images / "l3-0.jpg", images / "l8-0.jpg")
    ingest_export(export, embedder, photos)
    found = look(photos, embedder, tmp_path / "insights")
    summary = found.summary
    assert (summary.photos, summary.listings, summary.mapped_photos) == (24, 12, 24)
    assert found.photos.schema == store.PHOTO_SCHEMA
    assert found.suggestions.schema == store.SUGGESTION_SCHEMA
    assert found.duplicates.schema == store.DUPLICATE_SCHEMA
    keys = list(zip(*(found.photos[name].to_pylist() for name in ("category", "listing_id", "photo_id")), strict=True))
    assert keys == sorted(keys)
    assert {key[2] for key in keys} == {photo for photo, _ in photos.reader.ids()}
    assert [(one.category, one.listings, one.photos) for one in summary.categories] == [
        ("Garden", 6, 12),
        ("Home", 6, 12),
    ]
    assert summary.changed_at == photos.notes.changed_at()
    assert summary.predicted_categories == []
    assert found.photos["predicted_category"].null_count == 24
    first = found.duplicates.to_pylist()[0]
    assert (first["kind"], first["listing_ids"]) == ("same_bytes", ["l3", "l8"])
    for row in found.duplicates.to_pylist():
        assert len(row["listing_ids"]) > 1
        assert all(one["photo_id_a"].split("-")[0] != one["photo_id_b"].split("-")[0] for one in row["links"])


def test_a_scaled_repost_is_the_same_photo_and_an_unreadable_one_is_counted(
    photos: PhotoCollection, make_export: MakeExport, tmp_path: Path
) -> None:
    """Pixels tell the kind; a photo that is gone by then stays what its embedding says."""
    embedder = fake_embedder()
    curve = Calibration(slope=100, intercept=-95, pairs=1, same_item_pairs=1)
    embedder.card = embedder.card.model_copy(update={"calibration": curve})
    export = make_export(10, 1)
    for target, size in (("l8-0", (128, 96)), ("l9-0", (96, 72))):
        (export / "images" / f"{target}.jpg").write_bytes(jpeg(picture(3).resize(size)))
    ingest_export(export, embedder, photos)
    found = look(photos, embedder, tmp_path / "a")
    (group,) = found.duplicates.to_pylist()
    assert (group["kind"], group["listing_ids"], group["probability"]) == ("same_photo", ["l3", "l8", "l9"], None)
    assert found.summary.unreadable_photos == 0
    (export / "images" / "l9-0.jpg").unlink()
    found = look(photos, embedder, tmp_path / "b")
    (group,) = found.duplicates.to_pylist()
    assert group["listing_ids"] == ["l3", "l8", "l9"]
    assert {one["kind"] for one in group["links"] if "l9-0" in (one["photo_id_a"], one["photo_id_b"])} == {"same_item"}
    assert group["probability"] > 0.6
    assert found.summary.unreadable_photos == 1


@pytest.mark.usefixtures("pauses")
def test_a_host_that_fell_silent_is_given_up(
    photos: PhotoCollection, embedder: Embedder, site: Site, tmp_path: Path
) -> None:
    """Not every photo of a host that was there at the ingest and is away now costs its own wait: five in a row do."""
    names = [f"/{number}.jpg" for number in range(20)]
    rows = []
    for number, name in enumerate(names):
        uri = site.page(name, jpeg(picture(1).resize((64 + number, 48 + number))))
        rows.append([f"p{number}", f"l{number}", "Bed", "Home / Beds", "", "", "Leeds", uri])
    write_csv(tmp_path / "m.csv", MANIFEST_COLUMNS, rows)
    ingest_export(tmp_path / "m.csv", embedder, photos)
    site.requests.clear()
    for name in names:
        site.page(name, Answer(body=site.silence))
    found = look(photos, embedder, tmp_path / "insights")
    assert found.summary.unreadable_photos == len(names)
    assert FAILURES_IN_A_ROW <= len(set(site.requests)) < FAILURES_IN_A_ROW + edited_photos.READERS


def test_the_reader(photos: PhotoCollection, embedder: Embedder, make_export: MakeExport, tmp_path: Path) -> None:
    """Look-ups by id, by category, outliers, and a part of the map."""
    ingest_export(make_export(12), embedder, photos)
    found = look(photos, embedder, tmp_path / "insights", map_photos=10)
    assert found.summary.mapped_photos == 10
    on_map = found.on_map(100)
    assert len(on_map) == 10
    assert np.abs(np.stack([on_map["x"], on_map["y"]])).max() <= 1
    assert len(found.on_map(4)) == 4
    assert set(found.photos_by_id(["l1-0", "nobody", "l0-1"])) == {"l1-0", "l0-1"}
    assert found.photos_by_id(["l1-0"])["l1-0"]["title"] == "Thing 1"
    assert [row["photo_id"] for row in found.listings(["l7", "nobody"])["l7"]] == ["l7-0", "l7-1"]
    home = found.select(category="Home")
    assert home["category"].unique().to_pylist() == ["Home"]
    assert len(home) == 12
    outliers = found.select(category="Home", outliers=True)
    scores = outliers["outlier_score"].to_pylist()
    assert scores == sorted(scores)
    assert outliers["outlier_rank"].to_pylist() == list(range(1, 13))
    assert len(found.select(predicted="Home")) == 0


def test_a_new_run_takes_the_place_of_the_old_one(
    photos: PhotoCollection, embedder: Embedder, make_export: MakeExport, tmp_path: Path
) -> None:
    """In one step: the reader sees one run or the other, knows when its own is over, and the old tables go."""
    ingest_export(make_export(6), embedder, photos)
    folder = tmp_path / "insights"
    before = look(photos, embedder, folder)
    assert before.is_current()
    problems: list[Exception] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                now = Insights.open(folder, before.summary.collection)
                assert len(now.photos) == now.summary.photos
            except Exception as error:  # noqa: BLE001 - told below
                problems.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(20):
            summary = before.summary.model_copy(update={"files": f"run-{time.time_ns()}"})
            store.save(folder, summary, before.photos, before.suggestions, before.duplicates)
    finally:
        stop.set()
        reader.join()
    assert not problems
    assert not before.is_current()
    place = folder / before.summary.collection
    assert len([path for path in place.iterdir() if path.is_dir()]) == 2  # its own, and those of the run before


def test_what_a_killed_run_left_goes_after_a_day(
    photos: PhotoCollection, embedder: Embedder, make_export: MakeExport, tmp_path: Path
) -> None:
    """And not before: another run may be writing it."""
    ingest_export(make_export(6), embedder, photos)
    found = look(photos, embedder, tmp_path / "insights")
    place = found.path.parent
    for name, age in ((".killed", 90_000), (".writing", 60)):
        (place / name).mkdir()
        os.utime(place / name, (time.time() - age,) * 2)
    look(photos, embedder, tmp_path / "insights")
    assert not (place / ".killed").exists()
    assert (place / ".writing").exists()


def test_missing_and_broken_insights(tmp_path: Path) -> None:
    """Say which command makes them; a broken file is no traceback."""
    with pytest.raises(InsightsMissing) as error:
        Insights.open(tmp_path, "photos_x")
    assert error.value.hint == "marketlens insights"
    (tmp_path / "photos_x").mkdir()
    (tmp_path / "photos_x" / store.SUMMARY).write_text("{")
    with pytest.raises(InsightsMissing, match="cannot be read"):
        Insights.open(tmp_path, "photos_x")


def test_a_run_that_cannot_be_written_keeps_the_last_one(
    photos: PhotoCollection,
    embedder: Embedder,
    make_export: MakeExport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full disk loses nothing, and leaves nothing behind."""
    ingest_export(make_export(6), embedder, photos)
    folder = tmp_path / "insights"
    found = look(photos, embedder, folder)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OutputFailed, match="No space left"):
        look(photos, embedder, folder)
    assert found.is_current()
    assert len([path for path in found.path.parent.iterdir() if path.is_dir()]) == 1


def test_nothing_to_look_at(
    photos: PhotoCollection, embedder: Embedder, make_export: MakeExport, tmp_path: Path
) -> None:
    """No catalogue, another model's catalogue, an empty one: the message says so."""
    with pytest.raises(CollectionMissing):
        look(photos, embedder, tmp_path / "insights")
    ingest_export(make_export(2), embedder, photos)
    with pytest.raises(ModelMismatch):
        look(photos, fake_embedder("b" * 64), tmp_path / "insights")
    photos.writer.remove([photo for photo, _ in photos.reader.ids()])
    with pytest.raises(CollectionMissing, match="no photo"):
        look(photos, embedder, tmp_path / "insights")

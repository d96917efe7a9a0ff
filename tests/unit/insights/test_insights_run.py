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
from catalog.photo_files.hosts import FAILURES_IN_A_ROW, make_reader
from catalog.progress import silent
from catalog.settings import InsightsSettings
from catalog.store.collection import PhotoCollection
from embedding.card import Calibration
from embedding.embedder import Embedder
from insights import result_files
from insights.duplicates import edited_photos
from insights.result_files import Insights
from insights.run import run
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport, write_csv
from tests.support.data.models import fake_embedder
from tests.support.data.pictures import jpeg, picture
from tests.support.servers.web import Answer, Site


def run_insights(photos: PhotoCollection, embedder: Embedder, folder: Path, map_photos: int = 1_000) -> Insights:
    settings = InsightsSettings(folder=folder, map_photos=map_photos)
    summary, path = run(photos, embedder, settings, read=make_reader(10_000_000, 0.2), progress=silent)
    assert path == folder / summary.collection / result_files.SUMMARY
    return Insights.open(folder, summary.collection)


def test_results_are_written_and_read(
    photos: PhotoCollection, embedder: Embedder, make_export: MakeExport, tmp_path: Path
) -> None:
    """Every photo is in the table, in a stable order; a file in two listings is a duplicate."""
    export = make_export(12)
    images = export / "images"
    shutil.copy2(images / "l3-0.jpg", images / "l8-0.jpg")
    ingest_export(export, embedder, photos)
    insights = run_insights(photos, embedder, tmp_path / "insights")
    summary = insights.summary
    assert (summary.photos, summary.listings, summary.mapped_photos) == (24, 12, 24)
    assert insights.photos.schema == result_files.PHOTO_SCHEMA
    assert insights.suggestions.schema == result_files.SUGGESTION_SCHEMA
    assert insights.duplicates.schema == result_files.DUPLICATE_SCHEMA
    keys = list(
        zip(*(insights.photos[name].to_pylist() for name in ("category", "listing_id", "photo_id")), strict=True)
    )
    assert keys == sorted(keys)
    assert {key[2] for key in keys} == {photo for photo, _ in photos.reader.ids()}
    assert [(category.category, category.listings, category.photos) for category in summary.categories] == [
        ("Garden", 6, 12),
        ("Home", 6, 12),
    ]
    assert summary.changed_at == photos.notes.changed_at()
    assert summary.predicted_categories == []
    assert insights.photos["predicted_category"].null_count == 24
    first = insights.duplicates.to_pylist()[0]
    assert (first["kind"], first["listing_ids"]) == ("same_bytes", ["l3", "l8"])
    for row in insights.duplicates.to_pylist():
        assert len(row["listing_ids"]) > 1
        assert all(link["photo_id_a"].split("-")[0] != link["photo_id_b"].split("-")[0] for link in row["links"])


def test_a_scaled_repost_is_the_same_photo_and_an_unreadable_one_is_counted(
    photos: PhotoCollection, make_export: MakeExport, tmp_path: Path
) -> None:
    """Pixels decide the kind; a photo that cannot be read is compared by embedding, title and price."""
    embedder = fake_embedder()
    curve = Calibration(slope=100, intercept=-95, pairs=1, same_item_pairs=1)
    embedder.card = embedder.card.model_copy(update={"calibration": curve})
    export = make_export(10, 1)
    products = export / "Products.csv"
    text = products.read_text()
    for other, price in (("Thing 8 |", "£9.00"), ("Thing 9 |", "£10.00")):
        text = text.replace(other, "Thing 3 |").replace(price, "£4.00")
    products.write_text(text)
    for target, size in (("l8-0", (128, 96)), ("l9-0", (96, 72))):
        (export / "images" / f"{target}.jpg").write_bytes(jpeg(picture(3).resize(size)))
    ingest_export(export, embedder, photos)
    insights = run_insights(photos, embedder, tmp_path / "a")
    (group,) = insights.duplicates.to_pylist()
    assert (group["kind"], group["listing_ids"], group["probability"]) == ("same_photo", ["l3", "l8", "l9"], None)
    assert insights.summary.unreadable_photos == 0
    (export / "images" / "l9-0.jpg").unlink()
    insights = run_insights(photos, embedder, tmp_path / "b")
    (group,) = insights.duplicates.to_pylist()
    assert group["listing_ids"] == ["l3", "l8", "l9"]
    assert {link["kind"] for link in group["links"] if "l9-0" in (link["photo_id_a"], link["photo_id_b"])} == {
        "same_item"
    }
    assert group["probability"] > 0.6
    assert insights.summary.unreadable_photos == 1


@pytest.mark.usefixtures("pauses")
def test_an_unresponsive_host_is_given_up(
    photos: PhotoCollection, embedder: Embedder, site: Site, tmp_path: Path
) -> None:
    """A host that no longer responds after the ingest costs a few timeouts in a row, not one for each photo."""
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
    insights = run_insights(photos, embedder, tmp_path / "insights")
    assert insights.summary.unreadable_photos == len(names)
    assert FAILURES_IN_A_ROW <= len(set(site.requests)) < FAILURES_IN_A_ROW + edited_photos.READERS


def test_reading(photos: PhotoCollection, embedder: Embedder, make_export: MakeExport, tmp_path: Path) -> None:
    """Select photos by id, by category, by outlier rank, and a sample of the map."""
    ingest_export(make_export(12), embedder, photos)
    insights = run_insights(photos, embedder, tmp_path / "insights", map_photos=10)
    assert insights.summary.mapped_photos == 10
    on_map = insights.on_map(100)
    assert len(on_map) == 10
    assert np.abs(np.stack([on_map["x"], on_map["y"]])).max() <= 1
    assert len(insights.on_map(4)) == 4
    assert set(insights.photos_by_id(["l1-0", "nobody", "l0-1"])) == {"l1-0", "l0-1"}
    assert insights.photos_by_id(["l1-0"])["l1-0"]["title"] == "Thing 1"
    assert [row["photo_id"] for row in insights.listings(["l7", "nobody"])["l7"]] == ["l7-0", "l7-1"]
    home = insights.select(category="Home")
    assert home["category"].unique().to_pylist() == ["Home"]
    assert len(home) == 12
    outliers = insights.select(category="Home", outliers=True)
    scores = outliers["outlier_score"].to_pylist()
    assert scores == sorted(scores)
    assert outliers["outlier_rank"].to_pylist() == list(range(1, 13))
    assert len(insights.select(predicted="Home")) == 0


def test_a_new_run_replaces_the_old_one(
    photos: PhotoCollection, embedder: Embedder, make_export: MakeExport, tmp_path: Path
) -> None:
    """It does so in one step: a reader sees either run and can tell if its own is outdated; old tables are removed."""
    ingest_export(make_export(6), embedder, photos)
    folder = tmp_path / "insights"
    before = run_insights(photos, embedder, folder)
    assert before.is_current()
    problems: list[Exception] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                now = Insights.open(folder, before.summary.collection)
                assert len(now.photos) == now.summary.photos
            except Exception as error:  # noqa: BLE001 - asserted below
                problems.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(20):
            summary = before.summary.model_copy(update={"files": f"run-{time.time_ns()}"})
            result_files.save(folder, summary, before.photos, before.suggestions, before.duplicates)
    finally:
        stop.set()
        reader.join()
    assert not problems
    assert not before.is_current()
    directory = folder / before.summary.collection
    assert len([path for path in directory.iterdir() if path.is_dir()]) == 2  # the tables of the last two runs


def test_drafts_of_killed_runs_are_removed_after_a_day(
    photos: PhotoCollection, embedder: Embedder, make_export: MakeExport, tmp_path: Path
) -> None:
    """They are not removed earlier, because another run may be writing them."""
    ingest_export(make_export(6), embedder, photos)
    insights = run_insights(photos, embedder, tmp_path / "insights")
    directory = insights.path.parent
    for name, age in ((".killed", 90_000), (".writing", 60)):
        (directory / name).mkdir()
        os.utime(directory / name, (time.time() - age,) * 2)
    run_insights(photos, embedder, tmp_path / "insights")
    assert not (directory / ".killed").exists()
    assert (directory / ".writing").exists()


def test_missing_and_broken_insights(tmp_path: Path) -> None:
    """The error's hint is the command that creates them, also if the file is damaged."""
    with pytest.raises(InsightsMissing) as error:
        Insights.open(tmp_path, "photos_x")
    assert error.value.hint == "marketlens insights"
    (tmp_path / "photos_x").mkdir()
    (tmp_path / "photos_x" / result_files.SUMMARY).write_text("{")
    with pytest.raises(InsightsMissing, match="cannot be read"):
        Insights.open(tmp_path, "photos_x")


def test_a_failed_write_keeps_the_last_run(
    photos: PhotoCollection,
    embedder: Embedder,
    make_export: MakeExport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a full disk, the last run stays current and no draft remains."""
    ingest_export(make_export(6), embedder, photos)
    folder = tmp_path / "insights"
    insights = run_insights(photos, embedder, folder)

    def raise_disk_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", raise_disk_full)
    with pytest.raises(OutputFailed, match="No space left"):
        run_insights(photos, embedder, folder)
    assert insights.is_current()
    assert len([path for path in insights.path.parent.iterdir() if path.is_dir()]) == 1


def test_nothing_to_analyse(
    photos: PhotoCollection, embedder: Embedder, make_export: MakeExport, tmp_path: Path
) -> None:
    """A missing catalogue, another model's catalogue and an empty one raise their errors."""
    with pytest.raises(CollectionMissing):
        run_insights(photos, embedder, tmp_path / "insights")
    ingest_export(make_export(2), embedder, photos)
    with pytest.raises(ModelMismatch):
        run_insights(photos, fake_embedder("b" * 64), tmp_path / "insights")
    photos.writer.remove([photo for photo, _ in photos.reader.ids()])
    with pytest.raises(CollectionMissing, match="no photo"):
        run_insights(photos, embedder, tmp_path / "insights")


def test_insights_of_another_version_are_missing(
    photos: PhotoCollection, embedder: Embedder, make_export: MakeExport, tmp_path: Path
) -> None:
    """Tables of another version may lack columns: the reader asks for a new run instead."""
    ingest_export(make_export(4), embedder, photos)
    path = run_insights(photos, embedder, tmp_path).path
    path.write_text(path.read_text().replace('"format": 2', '"format": 1').replace('"format":2', '"format":1'))
    with pytest.raises(InsightsMissing, match="another version"):
        Insights.open(tmp_path, photos.info().name)

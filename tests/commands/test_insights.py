"""`marketlens insights`, on real photos with the shipped model."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from catalog.exports.export import open_export
from catalog.listing import Photo
from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from insights.result_files import Insights
from insights.summary import Summary
from tests.support.commands import RunHere, marketlens
from tests.support.data.exports import write_csv
from tests.support.paths import LISTINGS, MODEL


def _every_40th_listing(manifest: Path) -> Path:
    """Write a manifest of a part of the real export, with listings of all categories."""
    photos = [row for row in open_export(str(LISTINGS)).rows() if isinstance(row, Photo)]
    chosen = set(list(dict.fromkeys(photo.listing.listing_id for photo in photos))[::40])
    listings = [(photo, photo.listing) for photo in photos if photo.listing.listing_id in chosen]
    header = ["photo_id", "listing_id", "title", "category", "price", "currency", "location", "photo"]
    fields = [
        [
            photo.photo_id,
            listing.listing_id,
            listing.title,
            listing.category,
            listing.price,
            listing.currency,
            listing.location,
            f"{photo.photo_id}.jpg",
        ]
        for photo, listing in listings
    ]
    write_csv(manifest, header, fields)
    for photo, _ in listings:
        shutil.copy(photo.uri, manifest.parent)
    return manifest


def test_real_photos_with_the_shipped_model(tmp_path: Path, run_here: RunHere) -> None:
    """The command's table, the head's categories, and the number of photos that the model was trained on."""
    if not LISTINGS.exists():
        pytest.skip(f"needs {LISTINGS}, which is not part of the repository")
    export = _every_40th_listing(tmp_path / "part.csv")
    options = ("--uri", tmp_path / "milvus.db", "--model", MODEL)
    assert run_here("ingest", export, *options, cwd=tmp_path).returncode == 0
    result = run_here("insights", *options, "--map-photos", 50, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for words in ("suspected wrong categories", "same picture, edited", "time: neighbours", "peak memory"):
        assert words in result.stdout
    (folder,) = (tmp_path / "data" / "insights").iterdir()
    found = Insights.open(tmp_path / "data" / "insights", folder.name)
    summary: Summary = found.summary
    assert summary.mapped_photos == 50
    assert summary.trained_on == summary.photos == len(found.photos)
    assert np.sum(summary.confusion) == summary.photos
    assert len(summary.predicted_categories) == 13
    assert set(found.photos["predicted_category"].to_pylist()) <= set(summary.predicted_categories)
    assert np.allclose(np.sum(summary.overlap, axis=1), 1, atol=1e-3)
    assert any(category.words for category in summary.categories)


def test_the_command_without_a_catalogue(tmp_path: Path, run_here: RunHere) -> None:
    """It says what to do, and creates no database."""
    result = run_here("insights", "--uri", tmp_path / "milvus.db", "--model", MODEL, cwd=tmp_path)
    assert result.returncode == 3
    assert "marketlens ingest" in result.stderr
    assert not (tmp_path / "milvus.db").exists()


def test_a_lite_database_in_use_is_named(lite: MilvusSettings, tmp_path: Path) -> None:
    """Embedded Milvus belongs to one process: while another one uses it, the command ends with a message."""
    photos = PhotoCollection.connect(lite, IndexSettings())
    try:
        result = marketlens("insights", "--uri", lite.uri, "--model", MODEL, cwd=tmp_path)
    finally:
        photos.close()
    assert result.returncode == 3
    assert "in use" in result.stderr
    assert "Traceback" not in result.stderr

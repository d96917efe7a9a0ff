"""`marketlens prepare`: the splits do not leak, and the report describes the data set."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from catalog.errors import ExportUnreadable, OutputFailed
from catalog.exports.export import open_export
from catalog.photo_files.hosts import make_reader
from embedding.training.prepare import DatasetReport, prepare
from embedding.training.splits import assign_splits, listing_groups, near_identical_pairs
from tests.support.commands import RunHere
from tests.support.data.exports import MakeExport, write_export
from tests.support.data.pictures import jpeg, picture
from tests.support.paths import LISTINGS


def run(export: Path, out: Path, seed: int = 0) -> tuple[pd.DataFrame, DatasetReport]:
    report = prepare([open_export(export)], out, seed=seed, read=make_reader(10_000_000, 20), advance=lambda _: None)
    return pd.read_parquet(out / "photos.parquet"), report


def test_a_listing_is_in_one_split(make_export: MakeExport, tmp_path: Path) -> None:
    """No listing is in two splits, every category is in each split, test has about 15 %, val about 10 %."""
    photos, _ = run(make_export(listings=80, photos_each=2), tmp_path / "set")
    assert (photos.groupby("listing_id")["split"].nunique() == 1).all()
    for category in ("Home", "Garden"):
        shares = photos[photos.category == category].split.value_counts(normalize=True)
        assert shares["test"] == pytest.approx(0.15, abs=0.03)
        assert shares["val"] == pytest.approx(0.10, abs=0.03)


def test_near_identical_photos_stay_together(make_export: MakeExport, tmp_path: Path) -> None:
    """Listings that share a repost, also resized or through a third listing, are in one split for every seed."""
    export = make_export(listings=40, photos_each=2)
    images = export / "images"
    original = Image.open(images / "l0-0.jpg")
    (images / "l7-0.jpg").write_bytes(jpeg(original.resize((200, 160))))  # l0 ~ l7
    shutil.copy(images / "l7-1.jpg", images / "l13-1.jpg")  # l7 = l13
    for seed in range(6):
        photos, report = run(export, tmp_path / f"set{seed}", seed)
        split = photos.groupby("listing_id")["split"].first()
        assert split["l0"] == split["l7"] == split["l13"]
        assert ["l0", "l13", "l7"] in report.same_photo


def test_the_real_export_has_no_leak(tmp_path: Path) -> None:
    """On real photos, no two splits share a listing, bytes, or perceptual hashes less than nine bits apart."""
    if not LISTINGS.exists():
        pytest.skip(f"needs {LISTINGS}, which is not part of the repository")
    photos, report = run(LISTINGS, tmp_path / "set")
    assert (len(photos), report.listings, len(report.rejected_rows)) == (4_305, 2_400, 0)
    for column in ("listing_id", "sha256"):
        assert (photos.groupby(column)["split"].nunique() == 1).all()
    bits = np.unpackbits(np.array([list(bytes.fromhex(text)) for text in photos.phash], np.uint8), axis=1)
    split = photos.split.to_numpy()
    signs = bits.astype(np.int16) * 2 - 1
    distances = (64 - signs @ signs.T) // 2
    assert distances[split[:, None] != split[None, :]].min() > 8
    shares = photos.drop_duplicates("listing_id").split.value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.15, abs=0.01)


def test_several_exports(tmp_path: Path) -> None:
    """Exports are joined: a photo id in two of them is used once, and their near-identical photos stay together."""
    more = write_export(tmp_path / "more", 60, categories=("Home", "Toys"))  # l0 to l39 repeat the first export
    exports = [open_export(write_export(tmp_path / "first", 40)), open_export(more)]
    report = prepare(exports, tmp_path / "set", seed=0, read=make_reader(10_000_000, 20), advance=lambda _: None)
    photos = pd.read_parquet(tmp_path / "set" / "photos.parquet")
    assert (len(photos), report.listings) == (120, 60)
    assert set(photos.category) == {"Home", "Garden", "Toys"}
    assert {row.reason for row in report.rejected_rows} == {"duplicate_photo_id"}
    assert len(report.rejected_rows) == 80
    assert report.export == f"{tmp_path / 'first'}, {more}"
    assert set(photos[photos.listing_id == "l39"].uri) == {
        str(tmp_path / "first" / "images" / f"l39-{n}.jpg") for n in (0, 1)
    }


def test_the_same_seed_gives_the_same_splits(make_export: MakeExport, tmp_path: Path) -> None:
    """A seed gives the same splits for any order of the rows; another seed gives other splits."""
    export = make_export(listings=40, photos_each=1)
    first, _ = run(export, tmp_path / "a")
    header, *rows = (export / "Images.csv").read_text().splitlines()
    (export / "Images.csv").write_text("\n".join([header, *reversed(rows)]) + "\n")
    again, _ = run(export, tmp_path / "b")
    other, _ = run(export, tmp_path / "c", seed=1)
    splits = [frame.set_index("photo_id").split.sort_index() for frame in (first, again, other)]
    assert splits[0].equals(splits[1])
    assert not splits[0].equals(splits[2])


def test_the_table_is_clean(make_export: MakeExport, tmp_path: Path) -> None:
    """Prices are numbers, categories are split, titles have no place; the report has the rejected rows."""
    export = make_export(listings=12, photos_each=2)
    products = export / "Products.csv"
    products.write_text(products.read_text().replace("£2.00", "free"))
    (export / "images" / "l3-1.jpg").write_bytes(b"no photo")
    photos, report = run(export, tmp_path / "set")
    row = photos.set_index("photo_id").loc["l4-0"]
    assert (row.title, row.category, row.subcategory, row.price, row.currency) == (
        "Thing 4",
        "Home",
        "Things",
        5.0,
        "GBP",
    )
    assert photos.set_index("photo_id").price.isna()["l1-0"]
    assert (len(photos), report.unknown_prices) == (23, 1)
    assert [(rejected.photo_id, rejected.reason) for rejected in report.rejected_rows] == [("l3-1", "not_an_image")]
    assert json.loads((tmp_path / "set" / "categories.json").read_text()) == {"Garden": 0, "Home": 1}
    assert Image.open(tmp_path / "set" / "categories.png").width > 400


def test_small_categories_give_warnings(make_export: MakeExport, tmp_path: Path) -> None:
    """A category of two listings is all train, with a warning; a single category gives a warning too."""
    _, report = run(make_export(listings=4, categories=("A", "B")), tmp_path / "two")
    assert [text for text in report.warnings if "'A'" in text and "train" in text]
    _, report = run(make_export(listings=9, categories=("A",), name="one"), tmp_path / "single")
    assert any("only one category" in text for text in report.warnings)


def test_no_incomplete_folder(make_export: MakeExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An existing folder is not touched; an export without a photo and a full disk leave no folder."""
    export = make_export(listings=3)
    (tmp_path / "there").mkdir()
    with pytest.raises(OutputFailed, match="exists already"):
        run(export, tmp_path / "there")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(OutputFailed, match="No space left"):
        run(export, tmp_path / "full")
    for photo in (export / "images").iterdir():
        photo.write_bytes(b"")
    with pytest.raises(ExportUnreadable, match="None of the photos"):
        run(export, tmp_path / "none")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "there"]


def test_prepare_as_a_command(make_export: MakeExport, tmp_path: Path, run_here: RunHere) -> None:
    """The command prints the counts per category and split."""
    result = run_here("prepare", make_export(listings=20), "--out", "set", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Garden" in result.stdout
    assert (tmp_path / "set" / "report.json").exists()


def test_near_pairs() -> None:
    """Eight bits apart is near, nine is not, and each pair is returned once."""
    hashes = np.zeros((3, 8), np.uint8)
    hashes[1, 0] = 0b11111111
    hashes[2, :2] = (0b11111111, 0b1)
    assert near_identical_pairs(hashes).tolist() == [[0, 1], [1, 2]]
    assert listing_groups(np.array([0, 1, 2]), near_identical_pairs(hashes)).tolist() == [0, 0, 0]
    assert near_identical_pairs(np.empty((0, 8), np.uint8)).tolist() == []


def test_large_groups_never_empty_the_training_set() -> None:
    """With groups of any size, every category has listings in all three splits."""
    for seed in range(50):
        groups = np.array([0] * 10 + [1] * 10 + [2, 3])
        splits = assign_splits(groups, ["A"] * 22, seed)
        assert set(splits) == {"train", "val", "test"}


def test_pictures_differ() -> None:
    """The synthetic photos of these tests are not near-identical."""
    import imagehash

    hashes = np.stack([np.packbits(imagehash.phash(picture(seed)).hash) for seed in range(80)])
    assert len(near_identical_pairs(hashes)) == 0

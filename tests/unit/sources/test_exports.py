from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from catalog.errors import ExportUnreadable
from catalog.exports.export import MANIFEST_COLUMNS, open_export
from catalog.listing import Listing, Photo, Rejected
from catalog.store.filters import SearchFilter
from tests.support.data.exports import MakeExport, write_csv
from tests.support.paths import LISTINGS

GOOD = {
    "photo_id": "p1",
    "listing_id": "l1",
    "title": "Bed",
    "category": "Home / Beds",
    "price": "£12.00",
    "currency": "",
    "location": "Leeds",
    "photo": "a.jpg",
}


def manifest(folder: Path, *changes: dict[str, str]) -> Path:
    """Write a manifest with one row per change; each row is GOOD with that change."""
    write_csv(folder / "m.csv", MANIFEST_COLUMNS, [list((GOOD | change).values()) for change in changes])
    return folder / "m.csv"


def read(path: Path) -> list[Photo | Rejected]:
    return list(open_export(path).rows())


def append(path: Path, *lines: str) -> None:
    with path.open("a", encoding="utf-8", newline="") as file:
        file.writelines(f"{line}\n" for line in lines)


def reasons(rows: list[Photo | Rejected]) -> list[str]:
    return [row.reason if isinstance(row, Rejected) else "" for row in rows]


def test_folder(make_export: MakeExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A good export folder yields every photo, with its parsed listing and an absolute path."""
    make_export(3, 2)
    monkeypatch.chdir(tmp_path)
    export = open_export(Path("export"))
    rows = list(export.rows())
    assert reasons(rows) == [""] * 6
    assert export.photos == 6
    listing = Listing("l0", "Thing 0", "Home", "Things", 1.0, "GBP", "Leeds, West Yorkshire")
    assert rows[1] == Photo("l0-1", listing, str((tmp_path / "export" / "images" / "l0-1.jpg").resolve()))
    assert isinstance(rows[1], Photo)
    assert (rows[1].row, rows[1].warnings) == ("Images.csv row 3", ())


@pytest.mark.parametrize("name", ["Images.csv", "Products.csv", "images"])
def test_incomplete_folder(make_export: MakeExport, name: str) -> None:
    """A file or folder missing from an export folder is named before anything is read."""
    folder = make_export()
    (folder / name).rename(folder / "elsewhere")
    with pytest.raises(ExportUnreadable, match=rf"has no {name}\."):
        open_export(folder)


def test_missing_column(make_export: MakeExport) -> None:
    """If a table of an export folder lacks a column, the error names both."""
    folder = make_export()
    write_csv(folder / "Images.csv", ["", "id", "listing"], [])
    with pytest.raises(ExportUnreadable, match=r"Images\.csv has no column product_id"):
        open_export(folder)


def test_no_export(tmp_path: Path) -> None:
    """A missing path and a file of another kind are errors with a hint."""
    (tmp_path / "m.txt").write_text("x")
    for path in (tmp_path / "none", tmp_path / "m.txt"):
        with pytest.raises(ExportUnreadable) as error:
            open_export(path)
        assert error.value.hint


def test_messy_folder(make_export: MakeExport) -> None:
    """No row is lost: every row of Images.csv and every bad row of Products.csv is returned with its place."""
    folder = make_export(3, 2)
    append(
        folder / "Products.csv",
        "3,l0,Another,Garden / X,d,£9.00,Leeds",  # row 5: the id of row 2
        "4,,No id,Garden / X,d,£9.00,Leeds",  # row 6
        "5,short",  # row 7
        f"6,{'x' * 600},Long id,Garden,d,£9.00,Leeds",  # row 8
        "7,l7,Free,Garden,d,free,Leeds",  # row 9: good, price unknown
    )
    append(
        folder / "Images.csv",
        "6,l0-0,l1",  # row 8: the id of row 2
        "7,new,unknown",  # row 9
        "8,,l1",  # row 10
        "9,short",  # row 11
        "10,../../secret,l1",  # row 12
        "11,free,l7",  # row 13: good
    )
    rows = read(folder)
    rejected = {(row.row, row.reason) for row in rows if isinstance(row, Rejected)}
    assert rejected == {
        ("Products.csv row 5", "duplicate_listing_id"),
        ("Products.csv row 6", "missing_id"),
        ("Products.csv row 7", "malformed_row"),
        ("Products.csv row 8", "bad_id"),
        ("Images.csv row 8", "duplicate_photo_id"),
        ("Images.csv row 9", "unknown_listing"),
        ("Images.csv row 10", "missing_id"),
        ("Images.csv row 11", "malformed_row"),
        ("Images.csv row 12", "outside_root"),
    }
    assert len(rows) == 12 + 4  # all rows of Images.csv, and the four bad ones of Products.csv
    photos = {row.photo_id: row for row in rows if isinstance(row, Photo)}
    assert photos["l0-0"].listing.title == "Thing 0", "the first row with an id is used"
    assert photos["free"].listing.price is None


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("photo_id", "", "missing_id"),
        ("listing_id", "", "missing_id"),
        pytest.param("photo_id", "x" * 513, "bad_id", id="513 bytes"),
        pytest.param("photo_id", "ü" * 257, "bad_id", id="514 bytes"),
        ("photo_id", "a\0b", "bad_id"),
        ("listing_id", "a\x07b", "bad_id"),
        pytest.param("title", "x" * 66_000, "field_too_long", id="long title"),
        ("photo", "", "no_photo"),
        ("photo", "../secret.jpg", "outside_root"),
        ("photo", "a/../../secret.jpg", "outside_root"),
        ("photo", "/etc/hostname", "outside_root"),
        ("photo", "link.jpg", "outside_root"),
        ("photo", "file:///etc/hostname", "unsupported_address"),
        ("photo", "local:///etc/hostname", "unsupported_address"),
        ("photo", "simplecache::file:///etc/hostname", "unsupported_address"),
    ],
)
def test_rejected(tmp_path: Path, field: str, value: str, reason: str) -> None:
    """An unusable row has its reason and place, and the next row is still read."""
    (tmp_path / "link.jpg").symlink_to("/etc/hostname")
    first, second = read(manifest(tmp_path, {field: value}, {"photo_id": "p2"}))
    assert isinstance(first, Rejected)
    assert (first.row, first.reason) == ("m.csv row 2", reason)
    assert isinstance(second, Photo)


@pytest.mark.parametrize(
    "photo",
    [
        "a\0b.jpg",
        "loop",
        "http://[oops/x.jpg",
        pytest.param("x/" * 3000, id="deep"),
        pytest.param("x" * 3000, id="long"),
    ],
)
def test_impossible_path(tmp_path: Path, photo: str) -> None:
    """A photo path that is impossible in a file system or URL affects at most its own row, never the run."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    _, second = read(manifest(tmp_path, {"photo": photo}, {"photo_id": "p2"}))
    assert isinstance(second, Photo)


def test_longest_id(tmp_path: Path) -> None:
    """An id of exactly 512 bytes is accepted."""
    assert reasons(read(manifest(tmp_path, {"photo_id": "ü" * 256}))) == [""]


@pytest.mark.parametrize("field", ["category", "location"])
def test_stored_values_can_be_filtered_by(tmp_path: Path, field: str) -> None:
    """Any stored category and location can be used in a filter, even if the export had control characters."""
    (row,) = read(manifest(tmp_path, {field: "Ho\x01me"}))
    assert isinstance(row, Photo)
    SearchFilter(categories=(row.listing.category,), location=row.listing.location).expression()


def test_warnings(tmp_path: Path) -> None:
    """An unreadable price or missing category gives a warning, and the photo is kept; an empty price gives none."""
    rows = read(manifest(tmp_path, {"price": "free"}, {"photo_id": "p2", "price": "", "category": ""}))
    assert [(row.listing.price, row.listing.category, len(row.warnings)) for row in rows if isinstance(row, Photo)] == [
        (None, "Home", 1),
        (None, "", 1),
    ]
    assert isinstance(rows[0], Photo)
    assert "'free'" in rows[0].warnings[0]


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_listed_at(tmp_path: Path, kind: str) -> None:
    """The optional column listed_at is read; an unreadable time gives a warning, an empty one does not."""
    frame = pd.DataFrame(
        [
            GOOD | {"photo_id": f"p{number}", "listed_at": text}
            for number, text in enumerate(["2024-05-01T10:00:00+01:00", "1714554000", "yesterday", ""])
        ]
    )
    path = tmp_path / f"m.{kind}"
    match kind:
        case "csv":
            frame.to_csv(path, index=False)
        case "parquet":
            frame.to_parquet(path)
        case "jsonl":
            frame.to_json(path, orient="records", lines=True)
    photos = [row for row in read(path) if isinstance(row, Photo)]
    assert [photo.listing.listed_at for photo in photos] == [1714554000, 1714554000, None, None]
    assert [len(photo.warnings) for photo in photos] == [0, 0, 1, 0]
    assert "'yesterday'" in photos[2].warnings[0]


def test_parquet_times(tmp_path: Path) -> None:
    """A Parquet column of timestamps is read too."""
    frame = pd.DataFrame([GOOD | {"listed_at": pd.Timestamp("2024-05-01T10:00:00+01:00")}])
    frame.to_parquet(tmp_path / "m.parquet")
    (photo,) = read(tmp_path / "m.parquet")
    assert isinstance(photo, Photo)
    assert photo.listing.listed_at == 1714554000


def test_duplicate_after_rejected(tmp_path: Path) -> None:
    """A rejected row does not make a later row with the same photo id a duplicate."""
    rows = read(manifest(tmp_path, {"photo": ""}, {"title": "Second"}, {"title": "Third"}))
    assert reasons(rows) == ["no_photo", "", "duplicate_photo_id"]


def test_currency(tmp_path: Path) -> None:
    """The currency column has priority; if it is empty, the price's currency sign is used."""
    rows = read(manifest(tmp_path, {"currency": "eur"}, {"photo_id": "p2"}))
    assert [row.listing.currency for row in rows if isinstance(row, Photo)] == ["EUR", "GBP"]


def test_url(tmp_path: Path) -> None:
    """A photo's URL is used unchanged."""
    url = "https://cdn.example/a.jpg?w=192&h=%20"
    (photo,) = read(manifest(tmp_path, {"photo": url}))
    assert isinstance(photo, Photo)
    assert photo.uri == url


def test_root(tmp_path: Path) -> None:
    """With `root`, photo paths start there instead of at the manifest's folder."""
    (tmp_path / "tables").mkdir()
    path = manifest(tmp_path / "tables", {"photo": "a.jpg"}, {"photo_id": "p2", "photo": "../m.csv"})
    rows = list(open_export(path, root=tmp_path / "photos").rows())
    assert reasons(rows) == ["", "outside_root"]
    assert isinstance(rows[0], Photo)
    assert rows[0].uri == str(tmp_path.resolve() / "photos" / "a.jpg")


def test_parquet_is_csv(tmp_path: Path) -> None:
    """A manifest in Parquet yields the same photos as in CSV."""
    path = manifest(tmp_path, {}, {"photo_id": "p2", "price": "7.5"}, {"photo_id": ""}, {"photo_id": "p3", "price": ""})
    frame = pd.read_csv(path, dtype=str)
    frame.assign(notes="x" * 70_000).to_parquet(tmp_path / "m.parquet")
    from_csv, from_parquet = read(path), read(tmp_path / "m.parquet")
    assert [row for row in from_parquet if isinstance(row, Photo)] == [
        row for row in from_csv if isinstance(row, Photo)
    ]
    assert reasons(from_parquet) == reasons(from_csv) == ["", "", "missing_id", ""]


def test_other_columns(tmp_path: Path) -> None:
    """A long text in a column that is not stored does no harm."""
    write_csv(tmp_path / "m.csv", [*MANIFEST_COLUMNS, "notes"], [[*GOOD.values(), "x" * 70_000]])
    assert reasons(read(tmp_path / "m.csv")) == [""]


def test_real_export() -> None:
    """A marketplace's real export is read completely, each photo once."""
    if not LISTINGS.exists():
        pytest.skip(f"needs {LISTINGS}, which is not part of the repository")
    export = open_export(LISTINGS)
    rows = list(export.rows())
    assert Counter(reasons(rows)) == {"": 4305}
    assert export.photos == 4305
    photos = [row for row in rows if isinstance(row, Photo)]
    assert len({photo.photo_id for photo in photos}) == 4305
    assert len({photo.listing.category for photo in photos}) == 13
    assert all(Path(photo.uri).is_file() for photo in photos)
    assert not any(photo.listing.title.endswith("Gumtree") for photo in photos)

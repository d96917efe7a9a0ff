from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.errors import ExportUnreadable
from catalog.exports.tables import count_rows, csv_rows, parquet_rows, require_columns


def table(folder: Path, data: str | bytes) -> Path:
    path = folder / "t.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        ("a,b\n1,two\rlines\n2,x\n", [{"a": "1", "b": "two\nlines"}, {"a": "2", "b": "x"}]),
        ("a,b\r\n1,2\r\n3,4\r\n", [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]),
        ('a,b\r\n"1\r\n🎹","say ""hi"", you"\r\n', [{"a": "1\n🎹", "b": 'say "hi", you'}]),
        ("\ufeffa,b\n1,2\n", [{"a": "1", "b": "2"}]),
        ("a,b\n\n1,2\n\n", [{"a": "1", "b": "2"}]),
        ("a,b\n1\n2,x\n", [None, {"a": "2", "b": "x"}]),
        ("a,b\n1,2,3\n4,x\n", [None, {"a": "4", "b": "x"}]),
        (" a , b\n 1 , 2\n", [{"a": "1", "b": "2"}]),
        ("a,b\n1,2", [{"a": "1", "b": "2"}]),
        ("a,b\n", []),
        ("", []),
    ],
    ids=[
        "bare_return",
        "crlf",
        "quoted",
        "bom",
        "blank",
        "too_few",
        "too_many",
        "spaces",
        "no_last_newline",
        "header_only",
        "empty",
    ],
)
def test_csv(tmp_path: Path, data: str, rows: list[dict[str, str] | None]) -> None:
    """Tables are read as sellers and spreadsheets write them; a row of another width becomes None, and is counted."""
    path = table(tmp_path, data)
    assert [row for _, row in csv_rows(path)] == rows
    assert count_rows(path) == len(rows)


def test_place(tmp_path: Path) -> None:
    """A row's place is the file name and a row number, which is unique."""
    assert [where for where, _ in csv_rows(table(tmp_path, 'a,b\n1,"x\ny"\n2\n3,z\n'))] == [
        "t.csv row 2",
        "t.csv row 3",
        "t.csv row 4",
    ]


def test_long_field(tmp_path: Path) -> None:
    """A description of 200,000 characters is read completely."""
    rows = list(csv_rows(table(tmp_path, f"a,b\n1,{'x' * 200_000}\n")))
    assert rows == [("t.csv row 2", {"a": "1", "b": "x" * 200_000})]


@pytest.mark.parametrize(
    "data",
    [
        "a,b\n1,ü\n".encode("latin-1"),
        "a,b\n1,2\n".encode("utf-16"),
        b"a,b\n1," + b"x" * 17_000_000,
    ],
    ids=["latin-1", "utf-16", "17 MB field"],
)
def test_unreadable_csv(tmp_path: Path, data: bytes) -> None:
    """A table that cannot be read completely makes the export unreadable, and the error names the file."""
    with pytest.raises(ExportUnreadable, match=r"t\.csv"):
        list(csv_rows(table(tmp_path, data)))


def test_quote_never_closed(tmp_path: Path) -> None:
    """A quote that is never closed is an error, because it would silently swallow the rows after it."""
    path = table(tmp_path, 'a,b\n1,"x\n2,y\n3,z\n')
    with pytest.raises(ExportUnreadable):
        list(csv_rows(path))


def test_parquet(tmp_path: Path) -> None:
    """Numbers, nulls and NaN of a Parquet file become the texts of a CSV; other columns are ignored."""
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame({"id": [1, 2, 3], "price": [12.5, np.nan, 0.0], "title": ["Bed 🛏", None, " x "]})
    frame.assign(other=1).to_parquet(path)
    assert list(parquet_rows(path, ["title", "id", "price"])) == [
        ("t.parquet row 1", {"title": "Bed 🛏", "id": "1", "price": "12.5"}),
        ("t.parquet row 2", {"title": "", "id": "2", "price": ""}),
        ("t.parquet row 3", {"title": "x", "id": "3", "price": "0"}),
    ]
    assert count_rows(path) == 3


def test_parquet_nan_and_null(tmp_path: Path) -> None:
    """A missing price, null or NaN, becomes an empty text."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"price": pa.array([None, float("nan")], pa.float64(), from_pandas=False)}), path)
    assert [row for _, row in parquet_rows(path, ["price"])] == [{"price": ""}, {"price": ""}]


def test_no_parquet(tmp_path: Path) -> None:
    """A .parquet file that is not Parquet makes the export unreadable."""
    path = tmp_path / "t.parquet"
    path.write_text("a,b\n1,2\n")
    for read in (
        lambda: list(parquet_rows(path, ["a"])),
        lambda: count_rows(path),
        lambda: require_columns(path, ["a"]),
    ):
        with pytest.raises(ExportUnreadable, match=r"t\.parquet"):
            read()


@pytest.mark.parametrize("at", [100, 2_000, 20_000])
def test_damaged_parquet(tmp_path: Path, at: int) -> None:
    """Damage in the middle of a Parquet file makes the export unreadable, even if the footer is intact."""
    path = tmp_path / "t.parquet"
    numbers = np.random.default_rng(0).integers(0, 1 << 60, 2_000)
    pq.write_table(pa.table({"a": [str(number) for number in numbers]}), path)
    data = bytearray(path.read_bytes())
    data[at : at + 200] = b"\xff" * 200
    path.write_bytes(data)
    with pytest.raises(ExportUnreadable, match=r"t\.parquet"):
        list(parquet_rows(path, ["a"]))


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_missing_columns(tmp_path: Path, name: str) -> None:
    """The error names every missing column, and no column that exists."""
    path, frame = tmp_path / name, pd.DataFrame({"id": ["1"], "title": ["x"]})
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path)
    require_columns(path, ["title", "id"])
    with pytest.raises(ExportUnreadable, match=r"no column price, location\.") as error:
        require_columns(path, ["id", "price", "location"])
    assert "id, price, location" in error.value.hint


def test_no_table(tmp_path: Path) -> None:
    """A missing or empty table makes the export unreadable."""
    for path in (tmp_path / "none.csv", tmp_path / "none.parquet", table(tmp_path, "")):
        with pytest.raises(ExportUnreadable):
            require_columns(path, ["id"])

"""Rows of a CSV or Parquet file, as real exports hold them."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.errors import ExportUnreadable

# The row's place, 'FILE row N', and its values by column; None for a row that does not have the header's fields.
Row = tuple[str, dict[str, str] | None]

# csv takes a bare \r for a line end, and real descriptions hold them outside of quotes.
_BARE_RETURN = "\u2028"


def csv_rows(path: Path) -> Iterator[Row]:
    """Read record by record; line breaks and emoji inside fields survive. Raises ExportUnreadable."""
    csv.field_size_limit(16_000_000)
    try:
        # utf-8-sig: spreadsheets write a byte order mark. newline: \n alone ends a line, see _BARE_RETURN.
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            reader = csv.reader(line.replace("\r\n", "\n").replace("\r", _BARE_RETURN) for line in file)
            header = [name.strip() for name in next(reader, [])]
            for number, values in enumerate(reader, start=2):
                if len(values) == len(header):
                    texts = (value.replace(_BARE_RETURN, "\n").strip() for value in values)
                    yield f"{path.name} row {number}", dict(zip(header, texts, strict=True))
                elif values:
                    yield f"{path.name} row {number}", None
    except UnicodeDecodeError as error:
        raise ExportUnreadable(f"{path} is not UTF-8: {error}", hint="Save it as UTF-8 and run again.") from error
    except (OSError, csv.Error) as error:
        raise ExportUnreadable(f"{path} could not be read: {error}") from error


def parquet_rows(path: Path, columns: Iterable[str]) -> Iterator[Row]:
    """Read these columns batch by batch, every value as text. Raises ExportUnreadable."""
    number = 0
    for batch in _open_parquet(path).iter_batches(columns=list(columns)):
        for values in batch.to_pylist():
            number += 1
            yield f"{path.name} row {number}", {name: _text(value) for name, value in values.items()}


def count_rows(path: Path) -> int:
    """How many records a table holds. Raises ExportUnreadable."""
    if path.suffix.lower() == ".parquet":
        return int(_open_parquet(path).metadata.num_rows)
    return sum(1 for _ in csv_rows(path))


def require_columns(path: Path, wanted: Iterable[str]) -> None:
    """Raise ExportUnreadable, naming what is missing, unless the table has all of these columns."""
    if path.suffix.lower() == ".parquet":
        present = set(_open_parquet(path).schema_arrow.names)
    else:
        try:
            with path.open(encoding="utf-8-sig", newline="\n") as file:
                present = {name.strip() for name in next(csv.reader([file.readline()]), [])}
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ExportUnreadable(f"{path} could not be read: {error}") from error
    if missing := [name for name in wanted if name not in present]:
        raise ExportUnreadable(
            f"{path} has no column {', '.join(missing)}.",
            hint=f"It needs the columns {', '.join(wanted)}; see docs/exports.md.",
        )


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise ExportUnreadable(f"{path} is not a Parquet file that can be read: {error}") from error


def _text(value: object) -> str:
    # NaN, which differs from itself, is how pandas writes a missing price.
    return "" if value is None or value != value else str(value).strip()  # noqa: PLR0124 - that is the test for NaN

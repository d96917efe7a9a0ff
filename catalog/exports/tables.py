"""Read the rows of CSV, Parquet and JSON lines files, including the oddities of real exports."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.errors import ExportUnreadable

# The row's place, 'FILE row N', and its values by column; None if the row's fields do not match the header, or the line
# is not a JSON object.
Row = tuple[str, dict[str, str] | None]

# The csv module treats a bare \r as a line end, but real descriptions contain it outside quotes.
_BARE_RETURN = "\u2028"


def csv_rows(path: Path) -> Iterator[Row]:
    """Read record by record; line breaks and emoji inside fields are preserved. Raises ExportUnreadable."""
    csv.field_size_limit(16_000_000)
    record: list[str] = []

    def lines(file: Iterable[str]) -> Iterator[str]:
        for line in file:
            record.append(line.replace("\r\n", "\n").replace("\r", _BARE_RETURN))
            yield record[-1]

    try:
        # utf-8-sig: spreadsheets write a byte order mark. newline: only \n ends a line, see _BARE_RETURN.
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            reader = csv.reader(lines(file))
            header = [name.strip() for name in next(reader, [])]
            last: list[str] = []
            for number, values in enumerate(reader, start=2):
                last = record.copy()
                record.clear()
                if len(values) == len(header):
                    texts = (value.replace(_BARE_RETURN, "\n").strip() for value in values)
                    yield f"{path.name} row {number}", dict(zip(header, texts, strict=True))
                elif values:
                    yield f"{path.name} row {number}", None
            _require_closed_quotes(path, last)
    except UnicodeDecodeError as error:
        raise ExportUnreadable(f"{path.name} is not UTF-8: {error}", hint="Save it as UTF-8 and run again.") from error
    except (OSError, csv.Error) as error:
        raise ExportUnreadable(f"{path.name} could not be read: {error}") from error


def parquet_rows(path: Path, columns: Iterable[str]) -> Iterator[Row]:
    """Read these columns batch by batch, every value as text. Raises ExportUnreadable."""
    number = 0
    try:
        for batch in _open_parquet(path).iter_batches(columns=list(columns)):
            for values in batch.to_pylist():
                number += 1
                yield f"{path.name} row {number}", {name: _text(value) for name, value in values.items()}
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ExportUnreadable(f"{path.name} is damaged after row {number}: {error}") from error


def jsonl_rows(path: Path, columns: Iterable[str]) -> Iterator[Row]:
    """Read these columns from one JSON object per line, every value as text, '' if missing. Raises ExportUnreadable."""
    names = list(columns)
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    values = _json_object(line)
                    row = None if values is None else {name: _text(values.get(name)) for name in names}
                    yield f"{path.name} row {number}", row
    except UnicodeDecodeError as error:
        raise ExportUnreadable(f"{path.name} is not UTF-8: {error}", hint="Save it as UTF-8 and run again.") from error
    except OSError as error:
        raise ExportUnreadable(f"{path.name} could not be read: {error}") from error


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read the rows of a table in the format of its file extension, with at least these columns.

    Raises ExportUnreadable.
    """
    match path.suffix.lower():
        case ".parquet":
            return parquet_rows(path, columns)
        case ".jsonl":
            return jsonl_rows(path, columns)
    return csv_rows(path)


def count_rows(path: Path) -> int:
    """Return the number of records in a table. Raises ExportUnreadable."""
    if path.suffix.lower() == ".parquet":
        return int(_open_parquet(path).metadata.num_rows)
    return sum(1 for _ in rows_of(path, ()))


def require_columns(path: Path, names: Sequence[str]) -> None:
    """Raise ExportUnreadable, naming the missing columns, unless the table has all of these.

    JSON lines need none: a missing key is an empty field.
    """
    if path.suffix.lower() == ".jsonl":
        return
    if path.suffix.lower() == ".parquet":
        present = set(_open_parquet(path).schema_arrow.names)
    else:
        try:
            with path.open(encoding="utf-8-sig", newline="\n") as file:
                present = {name.strip() for name in next(csv.reader([file.readline()]), [])}
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ExportUnreadable(f"{path.name} could not be read: {error}") from error
    if missing := [name for name in names if name not in present]:
        raise ExportUnreadable(
            f"{path.name} has no column {', '.join(missing)}.",
            hint=f"It needs the columns {', '.join(names)}; see docs/exports.md.",
        )


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise ExportUnreadable(f"{path.name} is not a readable Parquet file: {error}") from error


def _require_closed_quotes(path: Path, last_record: list[str]) -> None:
    """Raise ExportUnreadable for a quote that is never closed: it makes all rows after it part of the last record."""
    try:
        list(csv.reader(last_record, strict=True))
    except csv.Error as error:
        if "end of data" in str(error):
            start = last_record[0].strip()[:60]
            raise ExportUnreadable(
                f"{path.name} has a quote that is never closed, in the row that begins with {start!r}.",
                hint="Close it, or double it if it is part of the text.",
            ) from error


def _json_object(line: str) -> dict[str, object] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _text(value: object) -> str:
    if isinstance(value, float):
        if math.isnan(value):  # how pandas writes a missing price
            return ""
        # No exponents. Ids that became floats because of a missing value in their column become whole numbers again.
        return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")
    # JSON can contain half a surrogate pair, which cannot be encoded: it is replaced.
    return "" if value is None else str(value).strip().encode(errors="replace").decode()

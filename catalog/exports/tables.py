"""Rows of a CSV, Parquet or JSON lines file, as real exports hold them."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.errors import ExportUnreadable

# The row's place, 'FILE row N', and its values by column; None for a row that does not have the header's fields, or for
# a line that is no JSON object.
Row = tuple[str, dict[str, str] | None]

# csv takes a bare \r for a line end, and real descriptions hold them outside of quotes.
_BARE_RETURN = "\u2028"


def csv_rows(path: Path) -> Iterator[Row]:
    """Read record by record; line breaks and emoji inside fields survive. Raises ExportUnreadable."""
    csv.field_size_limit(16_000_000)
    record: list[str] = []

    def lines(file: Iterable[str]) -> Iterator[str]:
        for line in file:
            record.append(line.replace("\r\n", "\n").replace("\r", _BARE_RETURN))
            yield record[-1]

    try:
        # utf-8-sig: spreadsheets write a byte order mark. newline: \n alone ends a line, see _BARE_RETURN.
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
    """Read these columns of a JSON object a line, every value as text, a missing one as ''. Raises ExportUnreadable."""
    wanted = list(columns)
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    values = _json_object(line)
                    row = None if values is None else {name: _text(values.get(name)) for name in wanted}
                    yield f"{path.name} row {number}", row
    except UnicodeDecodeError as error:
        raise ExportUnreadable(f"{path.name} is not UTF-8: {error}", hint="Save it as UTF-8 and run again.") from error
    except OSError as error:
        raise ExportUnreadable(f"{path.name} could not be read: {error}") from error


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a table, with these columns at least, read as its name's ending says. Raises ExportUnreadable."""
    match path.suffix.lower():
        case ".parquet":
            return parquet_rows(path, columns)
        case ".jsonl":
            return jsonl_rows(path, columns)
    return csv_rows(path)


def count_rows(path: Path) -> int:
    """How many records a table holds. Raises ExportUnreadable."""
    if path.suffix.lower() == ".parquet":
        return int(_open_parquet(path).metadata.num_rows)
    return sum(1 for _ in rows_of(path, ()))


def require_columns(path: Path, wanted: Sequence[str]) -> None:
    """Raise ExportUnreadable, naming what is missing, unless the table has all of these columns.

    Of JSON lines none has to be there.
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
    if missing := [name for name in wanted if name not in present]:
        raise ExportUnreadable(
            f"{path.name} has no column {', '.join(missing)}.",
            hint=f"It needs the columns {', '.join(wanted)}; see docs/exports.md.",
        )


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise ExportUnreadable(f"{path.name} is not a Parquet file that can be read: {error}") from error


def _require_closed_quotes(path: Path, last_record: list[str]) -> None:
    """A quote that is never closed swallows all rows after it: everything from there on is one last record."""
    try:
        list(csv.reader(last_record, strict=True))
    except csv.Error as error:
        if "end of data" in str(error):
            start = last_record[0].strip()[:60]
            raise ExportUnreadable(
                f"{path.name} has a quote that is never closed, in the row that begins with {start!r}.",
                hint="Close it, or double it where it is meant as a character.",
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
        # No exponents, and ids that became floats next to a missing one are whole numbers again.
        return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")
    # Half of a surrogate pair, which JSON can write, is no text.
    return "" if value is None else str(value).strip().encode(errors="replace").decode()

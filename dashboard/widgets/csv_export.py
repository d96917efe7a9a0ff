"""Tables as CSV files to download."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence

import streamlit as st

# A spreadsheet reads a cell that begins with one of these as a formula; titles and categories come from sellers.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def draw_csv_button(
    rows: Callable[[], Sequence[Mapping[str, object]]], name: str, label: str = "Export as CSV"
) -> None:
    """Draw a button that saves rows with equal columns as NAME.csv. `rows` is called when it is pressed."""
    st.download_button(
        label,
        lambda: as_csv(rows()),
        file_name=f"{name}.csv",
        mime="text/csv",
        icon=":material/download:",
        key=f"csv-{name}",
        on_click="ignore",
    )


def as_csv(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Return rows with equal columns as CSV that spreadsheets read as UTF-8."""
    text = io.StringIO()
    if rows:
        writer = csv.writer(text)
        writer.writerow(map(_cell, rows[0]))
        writer.writerows(map(_cell, row.values()) for row in rows)
    return text.getvalue().encode("utf-8-sig")


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

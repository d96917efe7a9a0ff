"""Tables that analysts take along."""

import csv
import io
from collections.abc import Mapping, Sequence

import streamlit as st

# A spreadsheet takes a cell that begins so for a formula, and titles are sellers' words.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def draw_csv_button(rows: Sequence[Mapping[str, object]], name: str, label: str = "Export as CSV") -> None:
    """Draw a button that saves rows with equal columns as NAME.csv."""
    st.download_button(
        label,
        as_csv(rows),
        file_name=f"{name}.csv",
        mime="text/csv",
        icon=":material/download:",
        key=f"csv-{name}",
        on_click="ignore",
    )


def as_csv(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Spell rows with equal columns as CSV that spreadsheets read as UTF-8."""
    text = io.StringIO()
    if rows:
        writer = csv.writer(text)
        writer.writerow(rows[0])
        writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return text.getvalue().encode("utf-8-sig")


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

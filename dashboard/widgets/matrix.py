"""A square table of numbers as a heat map."""

from collections.abc import Sequence
from typing import Literal

import altair as alt
import pandas as pd
import streamlit as st

from dashboard.widgets.csv_export import draw_csv_button

CELL_PIXELS = 30
LABEL_PIXELS = 170


def draw_matrix(
    names: Sequence[str],
    matrix: Sequence[Sequence[float]],
    *,
    rows: str,
    columns: str,
    value: str,
    number_format: str,
    scale: Literal["linear", "sqrt"] = "linear",
) -> None:
    """Draw a heat map over names, and offer its numbers as CSV. `rows`, `columns` and `value` are their names."""
    cells = [
        {rows: row, columns + " ": column, value: matrix[i][j]}
        for i, row in enumerate(names)
        for j, column in enumerate(names)
    ]
    y, x = alt.Y(f"{rows}:N"), alt.X(f"{columns} :N")
    chart = (
        alt.Chart(pd.DataFrame(cells), height=CELL_PIXELS * len(names) + 140)
        .mark_rect()
        .encode(
            y=y.sort(list(names)).title(rows.capitalize()).axis(labelLimit=LABEL_PIXELS),
            x=x.sort(list(names)).title(columns.capitalize()).axis(labelAngle=-50, labelLimit=LABEL_PIXELS),
            color=alt.Color(f"{value}:Q").scale(scheme="viridis", type=scale).title(value.capitalize()),
            tooltip=[f"{rows}:N", f"{columns} :N", alt.Tooltip(f"{value}:Q", format=number_format)],
        )
    )
    st.altair_chart(chart, alt=f"Heat map: {value} by {rows} and {columns}")
    draw_csv_button(
        lambda: [{rows: name} | dict(zip(names, row, strict=True)) for name, row in zip(names, matrix, strict=True)],
        value,
    )

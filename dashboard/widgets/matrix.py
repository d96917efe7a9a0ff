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
    spelt: str,
    scale: Literal["linear", "sqrt"] = "linear",
) -> None:
    """Draw a heat map over names, and offer its numbers; `rows`, `columns` and `value` say what they are."""
    cells = [
        {rows: row, columns + " ": column, value: matrix[i][j]}
        for i, row in enumerate(names)
        for j, column in enumerate(names)
    ]
    down, across = alt.Y(f"{rows}:N"), alt.X(f"{columns} :N")
    chart = (
        alt.Chart(pd.DataFrame(cells), height=CELL_PIXELS * len(names) + 140)
        .mark_rect()
        .encode(
            y=down.sort(list(names)).title(rows.capitalize()).axis(labelLimit=LABEL_PIXELS),
            x=across.sort(list(names)).title(columns.capitalize()).axis(labelAngle=-50, labelLimit=LABEL_PIXELS),
            color=alt.Color(f"{value}:Q").scale(scheme="viridis", type=scale).title(value.capitalize()),
            tooltip=[f"{rows}:N", f"{columns} :N", alt.Tooltip(f"{value}:Q", format=spelt)],
        )
    )
    st.altair_chart(chart, alt=f"Heat map: {value} by {rows} and {columns}")
    draw_csv_button(
        lambda: [{rows: name} | dict(zip(names, row, strict=True)) for name, row in zip(names, matrix, strict=True)],
        value,
    )

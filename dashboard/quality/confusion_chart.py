"""The confusion matrix as a chart."""

from typing import Any

import altair as alt
import pandas as pd

from search_api.schemas import ConfusionResponse

CELL_PIXELS = 34
LABEL_PIXELS = 150


def confusion_frame(confusion: ConfusionResponse) -> pd.DataFrame:
    """Return a row for each cell: both categories, the number of photos, and their share of the matrix's row."""
    return pd.DataFrame(
        [
            {"category": category, "predicted": predicted, "photos": count, "share": count / max(sum(counts), 1)}
            for category, counts in zip(confusion.categories, confusion.counts, strict=True)
            for predicted, count in zip(confusion.predicted_categories, counts, strict=True)
        ]
    )


def confusion_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """Draw the cells with their counts; a click selects a cell."""
    cell = alt.selection_point(name="cell", fields=["category", "predicted"], empty=False)
    base = alt.Chart(frame).encode(
        x=alt.X("predicted:N", sort=None, title="Model's category", axis=_axis(orient="top", labelAngle=-60)),
        y=alt.Y("category:N", sort=None, title="Seller's category", axis=_axis()),
        tooltip=[
            alt.Tooltip("category:N", title="Seller"),
            alt.Tooltip("predicted:N", title="Model"),
            alt.Tooltip("photos:Q", title="Photos", format=","),
            alt.Tooltip("share:Q", title="Share of the row", format=".1%"),
        ],
    )
    cells = base.mark_rect(cursor="pointer").encode(
        color=alt.Color("share:Q", scale=alt.Scale(scheme="blues", domain=[0, 1]), legend=None),
        stroke=alt.condition(cell, alt.value("#d97706"), alt.value("transparent")),
        strokeWidth=alt.value(3),
    )
    # Zeros are left out, because they would distract from the other counts.
    counts = (
        base.transform_filter("datum.photos > 0")
        .mark_text(fontSize=11)
        .encode(
            text=alt.Text("photos:Q", format=","),
            color=alt.condition("datum.share > 0.5", alt.value("white"), alt.value("black")),
        )
    )
    height = CELL_PIXELS * frame["category"].nunique() + LABEL_PIXELS
    return alt.LayerChart(layer=[cells.add_params(cell), counts], height=height)


def _axis(**options: Any) -> alt.Axis:
    return alt.Axis(labelLimit=LABEL_PIXELS, labelOverlap=False, ticks=False, domain=False, **options)

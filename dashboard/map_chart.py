"""The map as a chart, and which of its photos a selection chose."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from dashboard.tiles import price_in_words
from search_api.client import Client
from search_api.schemas import MapPoint

HOVER_PIXELS = 160
HEIGHT = 560
DRAG = "[pointerdown[{}], window:pointerup] > window:pointermove!"


def points_frame(points: Sequence[MapPoint], api: Client) -> pd.DataFrame:
    """Put the points in a table with what the chart shows; its index is the point's place in `points`."""
    return pd.DataFrame(
        {
            "x": [point.x for point in points],
            "y": [point.y for point in points],
            "photo_id": [point.photo_id for point in points],
            "title": [point.title for point in points],
            "category": [point.category for point in points],
            "price": [price_in_words(point.price, point.currency) for point in points],
            # vega-tooltip draws a field of this name as a picture.
            "image": [api.photo_address(point.photo_url, HOVER_PIXELS) for point in points],
        }
    )


def map_chart(frame: pd.DataFrame, colours: Mapping[str, str]) -> alt.Chart:
    """Draw the map: dragging chooses, a click chooses one, Ctrl + wheel zooms, Shift + dragging moves."""
    brush = alt.selection_interval(name="brush", on=DRAG.format("!event.shiftKey"))
    click = alt.selection_point(name="click", fields=["photo_id"], empty=False)
    view = alt.selection_interval(
        name="view",
        bind="scales",
        on=DRAG.format("event.shiftKey"),
        translate=DRAG.format("event.shiftKey"),
        zoom="wheel![event.ctrlKey || event.metaKey]",
    )
    chart: alt.Chart = (
        alt.Chart(frame, height=HEIGHT)
        .mark_circle()
        .encode(
            x=alt.X("x:Q", axis=None, scale=alt.Scale(zero=False)),
            y=alt.Y("y:Q", axis=None, scale=alt.Scale(zero=False)),
            color=alt.Color(
                "category:N", scale=alt.Scale(domain=list(colours), range=list(colours.values())), legend=None
            ),
            opacity=alt.condition(brush, alt.value(0.8), alt.value(0.15)),
            size=alt.condition(click, alt.value(220), alt.value(36)),
            tooltip=[alt.Tooltip(f"{name}:N") for name in ("image", "title", "category", "price")],
        )
        .add_params(brush, click, view)
    )
    return chart


def chosen(frame: pd.DataFrame, selection: Mapping[str, Any]) -> pd.DataFrame:
    """Rows inside the brush or, without one, the point clicked."""
    brush = selection.get("brush") or {}
    if "x" in brush and "y" in brush:
        inside = frame["x"].between(*sorted(brush["x"])) & frame["y"].between(*sorted(brush["y"]))
        return frame[inside]
    clicked = [point["photo_id"] for point in selection.get("click") or []]
    return frame[frame["photo_id"].isin(clicked)]

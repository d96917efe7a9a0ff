"""The API's activity: requests, errors and response times of the last hours, refreshed automatically."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd
import streamlit as st

from dashboard.widgets.notices import api_errors_shown
from search_api.client import Client
from search_api.schemas import ActivityPoint

SPANS = {"15 minutes": 15, "1 hour": 60, "3 hours": 180}
REFRESH_SECONDS = 10
HEIGHT = 260
COLOURS = ["#4e79a7", "#f28e2b", "#e15759"]
LEGEND = alt.Legend(orient="top", title=None)


def draw_activity(api: Client) -> None:
    """Draw the charts, every ten seconds unless auto-refresh is off."""
    with st.container(horizontal=True, vertical_alignment="center"):
        span = st.segmented_control(
            "The last", list(SPANS), default="1 hour", required=True, key="span", bind="query-params"
        )
        live = st.toggle("Auto-refresh", value=True, key="refresh")
    st.fragment(draw_charts, run_every=REFRESH_SECONDS if live else None)(api, SPANS[span or "1 hour"])


def draw_charts(api: Client, minutes: int) -> None:
    """Draw the requests, the errors, the response times and the time per stage."""
    with api_errors_shown():
        activity = api.activity()
        points = [point for point in activity.points if _age(point, activity.points) <= minutes * 60]
        if not any(point.requests for point in points):
            st.info("The API received no requests in this period.", icon=":material/bedtime:")
            return
        draw_totals(points)
        grid = st.grid(columns=2, min_column_width=330, gap="medium")
        charts = {
            f"Requests per {activity.seconds:g} s": requests_chart(points),
            "Response time in milliseconds": times_chart(points),
        }
        if any(point.stage_ms for point in points):
            charts["Milliseconds per search stage"] = stages_chart(points)
        for title, chart in charts.items():
            with grid.container():
                st.subheader(title, anchor=False)
                st.altair_chart(chart, width="stretch", alt=f"{title}, over time")


def draw_totals(points: Sequence[ActivityPoint]) -> None:
    """Draw the totals of the period."""
    requests = sum(point.requests for point in points)
    grid = st.grid(columns=4, min_column_width=150)
    for name, value in (
        ("Requests", f"{requests:,}"),
        ("Refused, 4xx", f"{sum(point.client_errors for point in points):,}"),
        ("Failed, 5xx", f"{sum(point.server_errors for point in points):,}"),
        ("Slowest p99", f"{max(point.p99_ms or 0 for point in points):,.0f} ms"),
    ):
        grid.metric(name, value, border=True)


def requests_chart(points: Sequence[ActivityPoint]) -> alt.Chart:
    """Draw the requests by outcome."""
    outcomes = {
        "successful": [point.requests - point.client_errors - point.server_errors for point in points],
        "4xx": [point.client_errors for point in points],
        "5xx": [point.server_errors for point in points],
    }
    chart: alt.Chart = (
        _over_time(_columns(points, outcomes, "requests"), "requests")
        .mark_area(interpolate="step")
        .encode(
            color=alt.Color("of:N", scale=alt.Scale(domain=list(outcomes), range=COLOURS), legend=LEGEND),
            order=alt.Order("of:N", sort="descending"),
        )
    )
    return chart


def times_chart(points: Sequence[ActivityPoint]) -> alt.Chart:
    """Draw the median and the 99th percentile of the response times."""
    return _lines(points, {"p50": [point.p50_ms for point in points], "p99": [point.p99_ms for point in points]})


def stages_chart(points: Sequence[ActivityPoint]) -> alt.Chart:
    """Draw the mean time of each stage."""
    stages = dict.fromkeys(stage for point in points for stage in point.stage_ms)
    return _lines(points, {stage: [point.stage_ms.get(stage) for point in points] for stage in stages})


def _lines(points: Sequence[ActivityPoint], values: Mapping[str, Sequence[float | None]]) -> alt.Chart:
    chart: alt.Chart = (
        _over_time(_columns(points, values, "ms"), "ms")
        .mark_line(point=alt.OverlayMarkDef(size=18))
        .encode(color=alt.Color("of:N", legend=LEGEND))
    )
    return chart


def _columns(points: Sequence[ActivityPoint], values: Mapping[str, Sequence[float | None]], name: str) -> pd.DataFrame:
    """Return a row for each time and series, with the columns at, of and `name`."""
    rows = [
        (point.at, series, value) for series, row in values.items() for point, value in zip(points, row, strict=True)
    ]
    return pd.DataFrame(rows, columns=["at", "of", name])


def _over_time(frame: pd.DataFrame, value: str) -> alt.Chart:
    chart: alt.Chart = alt.Chart(frame, height=HEIGHT).encode(
        x=alt.X("at:T", title=None, axis=alt.Axis(labelOverlap=True)),
        y=alt.Y(f"{value}:Q", title=None),
        tooltip=[alt.Tooltip("at:T", format="%H:%M:%S"), alt.Tooltip("of:N"), alt.Tooltip(f"{value}:Q", format=",.0f")],
    )
    return chart


def _age(point: ActivityPoint, points: Sequence[ActivityPoint]) -> float:
    return (points[-1].at - point.at).total_seconds()

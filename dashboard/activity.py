"""How the API does: requests, errors and times of the last hours, drawn anew by itself."""

import altair as alt
import pandas as pd
import streamlit as st

from dashboard.notices import api_errors_shown
from search_api.client import Client
from search_api.schemas import ActivityPoint

SPANS = {"15 minutes": 15, "1 hour": 60, "3 hours": 180}
REFRESH_SECONDS = 10
HEIGHT = 220


def draw_activity(api: Client) -> None:
    """Draw the charts, again every ten seconds unless that is switched off."""
    with st.container(horizontal=True, vertical_alignment="center"):
        span = st.segmented_control(
            "The last", list(SPANS), default="1 hour", required=True, key="span", bind="query-params"
        )
        live = st.toggle("Refresh by itself", value=True, key="refresh")
    st.fragment(draw_charts, run_every=REFRESH_SECONDS if live else None)(api, SPANS[span or "1 hour"])


def draw_charts(api: Client, minutes: int) -> None:
    """Draw what was asked, what failed, how long it took, and in which stage."""
    with api_errors_shown():
        activity = api.activity()
        points = [point for point in activity.points if _age(point, activity.points) <= minutes * 60]
        if not any(point.requests for point in points):
            st.info("Nothing was asked of the API in this time.", icon=":material/bedtime:")
            return
        draw_totals(points)
        grid = st.grid(columns=2, min_column_width=330, gap="medium")
        for title, chart in (
            (f"Requests in {activity.seconds:g} s", requests_chart(points)),
            ("Milliseconds for an answer", times_chart(points)),
            ("Milliseconds in each stage", stages_chart(points)),
        ):
            with grid.container():
                st.subheader(title, anchor=False)
                st.altair_chart(chart, width="stretch", alt=f"{title}, over time")


def draw_totals(points: list[ActivityPoint]) -> None:
    """Draw the sums over the time that is shown."""
    asked = sum(point.requests for point in points)
    grid = st.grid(columns=4, min_column_width=150)
    for name, value in (
        ("Requests", f"{asked:,}"),
        ("Refused, 4xx", f"{sum(point.client_errors for point in points):,}"),
        ("Failed, 5xx", f"{sum(point.server_errors for point in points):,}"),
        ("Slowest p99", f"{max(point.p99_ms or 0 for point in points):,.0f} ms"),
    ):
        grid.metric(name, value, border=True)


def requests_chart(points: list[ActivityPoint]) -> alt.Chart:
    """Answers by their kind."""
    rows = [
        {"at": point.at, "answers": kind, "requests": count}
        for point in points
        for kind, count in (
            ("answered", point.requests - point.client_errors - point.server_errors),
            ("4xx", point.client_errors),
            ("5xx", point.server_errors),
        )
    ]
    colours = alt.Scale(domain=["answered", "4xx", "5xx"], range=["#4e79a7", "#f28e2b", "#e15759"])
    return _over_time(rows, "requests").mark_area(interpolate="step").encode(
        color=alt.Color("answers:N", scale=colours, legend=_LEGEND), order=alt.Order("answers:N", sort="descending")
    )


def times_chart(points: list[ActivityPoint]) -> alt.Chart:
    """The median, and what one answer of a hundred takes longer than."""
    rows = [
        {"at": point.at, "of": name, "ms": value}
        for point in points
        for name, value in (("p50", point.p50_ms), ("p99", point.p99_ms))
    ]
    return _lines(rows)


def stages_chart(points: list[ActivityPoint]) -> alt.Chart:
    """Means by stage."""
    rows = [{"at": point.at, "of": stage, "ms": ms} for point in points for stage, ms in point.stage_ms.items()]
    return _lines(rows)


_LEGEND = alt.Legend(orient="top", title=None)


def _lines(rows: list[dict[str, object]]) -> alt.Chart:
    return _over_time(rows, "ms").mark_line(point=alt.OverlayMarkDef(size=18)).encode(
        color=alt.Color("of:N", legend=_LEGEND)
    )


def _over_time(rows: list[dict[str, object]], value: str) -> alt.Chart:
    # Without a row of its own, an empty table has no columns to draw.
    frame = pd.DataFrame(rows)
    return alt.Chart(frame, height=HEIGHT).encode(
        x=alt.X("at:T", title=None, axis=alt.Axis(format="%H:%M", labelOverlap=True)),
        y=alt.Y(f"{value}:Q", title=None),
        tooltip=[alt.Tooltip("at:T", format="%H:%M:%S"), *[alt.Tooltip(name) for name in frame.columns if name != "at"]],
    )


def _age(point: ActivityPoint, points: list[ActivityPoint]) -> float:
    return (points[-1].at - point.at).total_seconds()

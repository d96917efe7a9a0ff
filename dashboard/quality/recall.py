"""The live recall: how many of the nearest photos the search finds, by category."""

import altair as alt
import pandas as pd
import streamlit as st

from dashboard.widgets.admin import fetch_as_admin
from search_api.client import Client

GOOD = 0.95
BAR_PIXELS = 26


def draw_recall(api: Client) -> None:
    """Draw the probe's results, the worst first."""
    st.caption(
        "The API's probe searches for stored photos and compares the hits with an exact search: recall@10 is the share "
        f"of the ten nearest photos that were found. The line is at {GOOD:.0%}."
    )
    activity = fetch_as_admin(api.activity, "Live recall")
    if activity is None:
        return
    if not activity.recall:
        st.info("The probe has no results yet. It starts some minutes after the API.", icon=":material/hourglass:")
        return
    frame = pd.DataFrame(list(activity.recall.items()), columns=["category", "recall"]).sort_values("recall")
    st.altair_chart(recall_chart(frame), width="stretch", alt="Live recall for each category")
    st.dataframe(
        frame,
        hide_index=True,
        key="recall-table",
        column_config={
            "category": "Category",
            "recall": st.column_config.NumberColumn("recall@10", format="percent"),
        },
    )


def recall_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """Draw a bar for each category, and a line at the lowest acceptable recall."""
    bars = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("recall:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
            y=alt.Y("category:N", sort=None, title=None, axis=alt.Axis(labelLimit=160, labelOverlap=False)),
            color=alt.condition(f"datum.recall < {GOOD}", alt.value("#d97706"), alt.value("#4e79a7")),
            tooltip=[alt.Tooltip("category:N"), alt.Tooltip("recall:Q", format=".1%")],
        )
    )
    line = alt.Chart(pd.DataFrame({"recall": [GOOD]})).mark_rule(color="#d97706", strokeWidth=2).encode(x="recall:Q")
    return alt.LayerChart(layer=[bars, line], height=BAR_PIXELS * len(frame) + 40)

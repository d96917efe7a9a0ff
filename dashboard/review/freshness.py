"""The age of the insights: which photos `marketlens insights` analysed, and when."""

from datetime import UTC, datetime

import streamlit as st

from search_api.schemas import InsightsResponse


def draw_freshness(insights: InsightsResponse) -> None:
    """Draw the date of the insights, and whether they are out of date."""
    stale = " The collection has changed since: run `marketlens insights` again." if insights.is_stale else ""
    st.caption(f"From {insights.photos:,} photos, analysed on {moment_in_words(insights.made_at)}.{stale}")


def moment_in_words(moment: datetime) -> str:
    """Return a time in UTC: `20 Nov 2026, 08:05 UTC`."""
    return f"{moment.astimezone(UTC):%-d %b %Y, %H:%M} UTC"

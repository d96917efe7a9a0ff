"""What `marketlens insights` looked at, and when."""

from datetime import UTC, datetime

import streamlit as st

from search_api.schemas import InsightsResponse


def draw_freshness(insights: InsightsResponse) -> None:
    """Say how old the insights are, and when they are out of date."""
    since = " The collection has changed since: `marketlens insights` looks at it again." if insights.is_stale else ""
    st.caption(f"From {insights.photos:,} photos, looked at on {moment_in_words(insights.made_at)}.{since}")


def moment_in_words(moment: datetime) -> str:
    """Spell a moment the same for everybody: `20 Nov 2026, 08:05 UTC`."""
    return f"{moment.astimezone(UTC):%-d %b %Y, %H:%M} UTC"

"""The display options of the map."""

import streamlit as st

from dashboard.clusters.state import COLOURINGS, LABELS
from dashboard.widgets.categories import choose_categories
from search_api.schemas import InsightsResponse


def draw_inputs(insights: InsightsResponse) -> None:
    """Draw the options in the side bar."""
    with st.sidebar:
        st.header("Map")
        st.selectbox("Colour by", COLOURINGS, key="colour", format_func=str.capitalize)
        st.selectbox("Labels", LABELS, key="labels", format_func=str.capitalize)
        choose_categories({category.category: category.photos for category in insights.categories}, key="shown")

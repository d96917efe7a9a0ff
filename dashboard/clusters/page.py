"""The Clusters page: a map of the whole collection, on which photos that look alike are near each other."""

import streamlit as st

from dashboard.api import connect, fetch_map
from dashboard.clusters.colouring import colour_by
from dashboard.clusters.inputs import draw_inputs
from dashboard.clusters.map_view import draw_map
from dashboard.clusters.sections import draw_section
from dashboard.clusters.state import MapState
from dashboard.link import load_state_from_url, save_state_to_url
from dashboard.widgets.notices import api_errors_shown
from dashboard.widgets.search_links import follow_search_link


def main() -> None:
    """Draw the page."""
    follow_search_link()
    api = connect()
    st.title("Clusters")
    load_state_from_url(MapState)
    with api_errors_shown():
        insights = api.insights()
        columns = fetch_map(api, insights).columns
        draw_inputs(insights)
        state = save_state_to_url(MapState)
        colouring = colour_by(columns, state.colour)
        drawn = [point for point, category in enumerate(columns.category) if not state.shown or category in state.shown]
        draw_map(api, state, insights, columns, colouring, drawn)
        draw_section(api, state, insights, columns, colouring, drawn)


if __name__ == "__main__":
    main()

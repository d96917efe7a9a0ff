"""Clusters: the whole collection as a map, where photos that look alike lie together."""

import streamlit as st

from dashboard.api import connect, fetch_map
from dashboard.clusters.colouring import colour_by
from dashboard.clusters.inputs import draw_inputs
from dashboard.clusters.map_view import draw_map
from dashboard.clusters.sections import draw_part
from dashboard.clusters.state import MapState
from dashboard.link import put_in_link, take_over_link
from dashboard.widgets.notices import api_errors_shown
from dashboard.widgets.search_links import go_on


def main() -> None:
    """Draw the page."""
    go_on()
    api = connect()
    st.title("Clusters")
    take_over_link(MapState)
    with api_errors_shown():
        insights = api.insights()
        columns = fetch_map(api, insights).columns
        draw_inputs(insights)
        looked = put_in_link(MapState)
        colouring = colour_by(columns, looked.colour)
        drawn = [
            point for point, category in enumerate(columns.category) if not looked.shown or category in looked.shown
        ]
        draw_map(api, looked, insights, columns, colouring, drawn)
        draw_part(api, looked, insights, columns, colouring, drawn)


if __name__ == "__main__":
    main()

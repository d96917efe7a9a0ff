"""Clusters: the whole collection as a map, where photos that look alike lie together."""

import streamlit as st

from dashboard.clusters_inputs import draw_inputs
from dashboard.clusters_map import draw_map
from dashboard.clusters_parts import draw_part
from dashboard.colouring import colour_by
from dashboard.fetching import connect, fetch_map
from dashboard.link import put_in_link, take_over_link
from dashboard.looked import Looked
from dashboard.notices import api_errors_shown
from dashboard.onward import go_on


def main() -> None:
    """Draw the page."""
    go_on()
    api = connect()
    st.title("Clusters")
    take_over_link(Looked)
    with api_errors_shown():
        insights = api.insights()
        columns = fetch_map(api, insights).columns
        draw_inputs(insights)
        looked = put_in_link(Looked)
        colouring = colour_by(columns, looked.colour)
        drawn = [
            point for point, category in enumerate(columns.category) if not looked.shown or category in looked.shown
        ]
        draw_map(api, looked, insights, columns, colouring, drawn)
        draw_part(api, looked, insights, columns, colouring, drawn)


if __name__ == "__main__":
    main()

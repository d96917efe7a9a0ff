"""The Search page: find listings by words, photos or other listings."""

import streamlit as st

from dashboard.api import connect
from dashboard.link import load_state_from_url, save_state_to_url
from dashboard.search.answer_pages import fetch_answer
from dashboard.search.filters import draw_filters
from dashboard.search.inputs import draw_examples, draw_inputs, draw_left_out_warning
from dashboard.search.match_explanation import draw_explanation
from dashboard.search.results import draw_hits, draw_instructions
from dashboard.search.search_query import SearchQuery
from dashboard.search.state import SearchState
from dashboard.widgets.notices import UNAVAILABLE, api_errors_shown
from search_api.client import ApiError


def main() -> None:
    """Draw the page."""
    api = connect()
    st.title("Search by words or photo")
    load_state_from_url(SearchState)
    uploads = draw_inputs()
    with api_errors_shown():
        state = save_state_to_url(SearchState)
        query = SearchQuery(state, draw_examples(api, state, uploads))
        draw_left_out_warning(query)
        try:
            pages = fetch_answer(api, query)
        except ApiError as error:
            # If the API refuses a filter, the user needs the filters to change it.
            if error.status not in UNAVAILABLE:
                draw_filters(api, state, [])
            raise
        draw_filters(api, state, pages)
        if not pages:
            draw_instructions(state)
            return
        draw_hits(api, state, pages)
        draw_explanation(api, query, pages)


if __name__ == "__main__":
    main()

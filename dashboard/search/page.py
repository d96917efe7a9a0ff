"""Search: photos, or listings, find the listings that look like them."""

import streamlit as st

from dashboard.api import connect
from dashboard.link import put_in_link, take_over_link
from dashboard.search.answer_pages import fetch_answer
from dashboard.search.filters import draw_filters
from dashboard.search.inputs import draw_examples, draw_inputs, draw_left_out
from dashboard.search.match_explanation import draw_why
from dashboard.search.question import Question
from dashboard.search.results import draw_answer, draw_invitation
from dashboard.search.state import SearchState
from dashboard.widgets.notices import AWAY, api_errors_shown
from search_api.client import ApiError


def main() -> None:
    """Draw the page."""
    api = connect()
    st.title("Search by photo")
    take_over_link(SearchState)
    uploads = draw_inputs()
    with api_errors_shown():
        asked = put_in_link(SearchState)
        question = Question(asked, draw_examples(api, asked, uploads))
        draw_left_out(question)
        try:
            pages = fetch_answer(api, question)
        except ApiError as error:
            # What is refused for a filter can be mended by that filter alone.
            if error.status not in AWAY:
                draw_filters(api, asked, [])
            raise
        draw_filters(api, asked, pages)
        if not pages:
            draw_invitation(asked)
            return
        draw_answer(api, asked, pages)
        draw_why(api, question, pages)


if __name__ == "__main__":
    main()

"""The Wrong category page: listings that the model and their neighbours put elsewhere, the most certain first."""

import streamlit as st

from dashboard.api import connect
from dashboard.review.decision_bar import draw_decisions, draw_problem, draw_undo
from dashboard.review.evidence import draw_categories, draw_listing_photos, draw_neighbours, preload
from dashboard.review.freshness import draw_freshness
from dashboard.review.question_queue import PREFETCH, Fetch, Queue, suggestions_of
from dashboard.review.verdicts import draw_verdicts
from dashboard.widgets.notices import api_errors_shown
from search_api.client import Client
from search_api.schemas import InsightsResponse, Suggestion


def main() -> None:
    """Draw the page."""
    api = connect()
    st.title("Wrong category")
    with api_errors_shown():
        insights = api.insights()
        draw_freshness(insights)
        fetch = draw_filters(api, insights)
        review, decided = st.tabs(["Review", "Decided"], key="view", on_change="rerun", bind="query-params")
        with review:
            if review.open:
                draw_review(api, Queue(api, fetch, st.session_state.setdefault("decided-suggestions", [])))
        with decided:
            if decided.open:
                draw_verdicts(api, "wrong_category")


def draw_filters(api: Client, insights: InsightsResponse) -> Fetch[Suggestion]:
    """Draw the filters; return a function that fetches the suggestions that pass them."""
    names = [category.category for category in insights.categories]
    with st.sidebar:
        st.header("Filters")
        seller = st.selectbox("Seller's category", names, None, key="seller", placeholder="Any", bind="query-params")
        suggested = st.selectbox("Suggested", names, None, key="suggested", placeholder="Any", bind="query-params")
        skipped = st.toggle("Ask skipped questions again", key="skipped", bind="query-params")
    return lambda after: suggestions_of(
        api.suggestions(category=seller, suggested=suggested, after=after, limit=PREFETCH, skipped=skipped)
    )


@st.fragment
def draw_review(api: Client, queue: Queue[Suggestion]) -> None:
    """Draw one suggestion. A verdict redraws only this."""
    with api_errors_shown():
        upcoming = queue.first(2)
        draw_bar(queue, upcoming)
        draw_problem(queue.problem)
        if not upcoming:
            draw_nothing_left()
            return
        draw_suggestion(api, upcoming[0])
        draw_neighbours(api, upcoming[0])
        preload(api, upcoming[1:])


def draw_bar(queue: Queue[Suggestion], upcoming: list[Suggestion]) -> None:
    """Draw the decision buttons, always in the same place."""
    with st.container(horizontal=True, key="decision-bar", vertical_alignment="center", gap="small"):
        if upcoming:
            draw_decisions(queue, upcoming[0])
        draw_undo(queue)
        st.text(f"{queue.remaining:,} left. Accept: the suggested category is right.")


def draw_suggestion(api: Client, suggestion: Suggestion) -> None:
    """Draw the listing, and the evidence for both categories."""
    photos, facts = st.columns([3, 2], gap="medium")
    with photos:
        draw_listing_photos(api, suggestion)
    with facts:
        draw_categories(suggestion)


def draw_nothing_left() -> None:
    """Draw that no suggestion is left to decide."""
    st.success(
        "There is nothing left to decide here. There may be more suggestions without the filters in the side bar. "
        "After the next ingest, run `marketlens insights` again.",
        icon=":material/task_alt:",
    )


if __name__ == "__main__":
    main()

"""The Duplicates page: groups of listings that show the same, the most certain first."""

from contextlib import suppress
from functools import partial

import streamlit as st

from dashboard.api import connect
from dashboard.review.decision_bar import draw_decisions, draw_problem, draw_undo
from dashboard.review.duplicate_group import KINDS, draw_group
from dashboard.review.freshness import draw_freshness
from dashboard.review.question_queue import Fetch, Queue, groups_of
from dashboard.review.verdicts import draw_verdicts
from dashboard.widgets.notices import api_errors_shown
from search_api.client import ApiError, Client
from search_api.schemas import DuplicateGroup, DuplicateKind

GROUPS = 10


def main() -> None:
    """Draw the page."""
    api = connect()
    st.title("Duplicates")
    with api_errors_shown():
        draw_freshness(api.insights())
        fetch = draw_filters(api)
        review, decided = st.tabs(["Review", "Decided"], key="view", on_change="rerun", bind="query-params")
        with review:
            if review.open:
                queue = Queue(api, fetch, st.session_state.setdefault("decided-groups", []), after=page_start())
                draw_review(api, queue)
                draw_pager(queue)
        with decided:
            if decided.open:
                draw_verdicts(api, "duplicate")


def draw_filters(api: Client) -> Fetch[DuplicateGroup]:
    """Draw the filters; return a function that fetches the groups that pass them."""
    with st.sidebar:
        st.header("Filters")
        words: str | None = st.selectbox(
            "What is the same",
            [kind.name for kind in KINDS.values()],
            None,
            key="same",
            placeholder="Anything",
            bind="query-params",
            on_change=set_page_start,
            args=(None,),
        )
        skipped = st.toggle("Ask skipped questions again", key="skipped", bind="query-params")
        for kind in KINDS.values():
            st.caption(f"**{kind.name}**: {kind.explanation}")
    selected: DuplicateKind | None = next((key for key, kind in KINDS.items() if kind.name == words), None)
    return lambda after: groups_of(api.duplicates(kind=selected, after=after, limit=2 * GROUPS, skipped=skipped))


@st.fragment
def draw_review(api: Client, queue: Queue[DuplicateGroup]) -> None:
    """Draw a page of groups. A verdict redraws only this, and the groups below move up."""
    with api_errors_shown():
        groups = queue.first(GROUPS)
        with st.container(horizontal=True, key="decision-bar", vertical_alignment="center", gap="small"):
            draw_undo(queue)
            st.text(f"{queue.remaining:,} left. Accept: these listings are duplicates.")
        draw_problem(queue.problem)
        if not groups:
            draw_nothing_left()
        for position, group in enumerate(groups):
            draw_group(api, group, partial(draw_decisions, queue, group, by_key=position == 0))


def draw_pager(queue: Queue[DuplicateGroup]) -> None:
    """Draw the buttons for other pages. The start of the page is in the URL."""
    with st.container(horizontal=True, key="pager"):
        st.button("First page", key="first", disabled=page_start() is None, on_click=set_page_start, args=(None,))
        st.button(
            "Next page",
            key="next",
            icon=":material/arrow_forward:",
            disabled=not queue.has_more_than(GROUPS),
            on_click=turn_page,
            args=(queue,),
        )


def turn_page(queue: Queue[DuplicateGroup]) -> None:
    """Start the page after the groups on screen. There may be none: verdicts redraw the groups, but not the pager."""
    with suppress(ApiError):  # the page fetches again, and shows the error
        groups = queue.first(GROUPS)
        if groups:
            set_page_start(groups[-1].rank)


def page_start() -> int | None:
    """Return the rank after which the page starts, from the URL."""
    text = st.query_params.get("after", "")
    return int(text) if text.isdecimal() else None


def set_page_start(after: int | None) -> None:
    """Start the page after this rank, or at the first group."""
    st.query_params.pop("after", None)
    if after is not None:
        st.query_params["after"] = str(after)


def draw_nothing_left() -> None:
    """Draw that no group is left to decide."""
    st.success(
        "There is nothing left to decide here. There may be more groups on earlier pages or without the filters in the "
        "side bar. After the next ingest, run `marketlens insights` again.",
        icon=":material/task_alt:",
    )


if __name__ == "__main__":
    main()

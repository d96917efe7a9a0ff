"""Duplicates: listings that show the same, in groups, the surest first."""

from contextlib import suppress
from functools import partial

import streamlit as st

from dashboard.api import connect
from dashboard.review.decision_bar import draw_decisions, draw_problem, draw_undo
from dashboard.review.duplicate_group import KINDS, draw_group
from dashboard.review.freshness import draw_freshness
from dashboard.review.question_queue import Fetch, Queue, groups_of
from dashboard.review.verdicts import draw_decided
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
                queue = Queue(api, fetch, st.session_state.setdefault("decided-groups", []), after=page_in_link())
                draw_review(api, queue)
                draw_pager(queue)
        with decided:
            if decided.open:
                draw_decided(api, "duplicate")


def draw_filters(api: Client) -> Fetch[DuplicateGroup]:
    """Let the analyst limit the groups; return what fetches those that are left."""
    with st.sidebar:
        st.header("Filters")
        words: str | None = st.selectbox(
            "What is the same",
            [kind.name for kind in KINDS.values()],
            None,
            key="same",
            placeholder="Anything",
            bind="query-params",
            on_change=go_to,
            args=(None,),
        )
        skipped = st.toggle("Ask again what was skipped", key="skipped", bind="query-params")
        for kind in KINDS.values():
            st.caption(f"**{kind.name}**: {kind.explanation}")
    chosen: DuplicateKind | None = next((key for key, kind in KINDS.items() if kind.name == words), None)
    return lambda after: groups_of(api.duplicates(kind=chosen, after=after, limit=2 * GROUPS, skipped=skipped))


@st.fragment
def draw_review(api: Client, queue: Queue[DuplicateGroup]) -> None:
    """Draw a page of groups. A verdict draws this alone anew, and the groups below move up."""
    with api_errors_shown():
        groups = queue.first(GROUPS)
        with st.container(horizontal=True, key="decision-bar", vertical_alignment="center", gap="small"):
            draw_undo(queue)
            st.text(f"{queue.remaining:,} left. Accept: these listings are duplicates.")
        draw_problem(queue.problem)
        if not groups:
            draw_end()
        for place, group in enumerate(groups):
            draw_group(api, group, partial(draw_decisions, queue, group, by_key=place == 0))


def draw_pager(queue: Queue[DuplicateGroup]) -> None:
    """Draw the ways to other pages. Where this page begins is in the URL."""
    with st.container(horizontal=True, key="pager"):
        st.button("First page", key="first", disabled=page_in_link() is None, on_click=go_to, args=(None,))
        st.button(
            "Next page",
            key="next",
            icon=":material/arrow_forward:",
            disabled=not queue.has_more_than(GROUPS),
            on_click=turn_page,
            args=(queue,),
        )


def turn_page(queue: Queue[DuplicateGroup]) -> None:
    """Begin after the groups in sight. Verdicts draw those anew, not the pager: perhaps none is left by now."""
    with suppress(ApiError):  # the page asks again, and says what is wrong
        groups = queue.first(GROUPS)
        if groups:
            go_to(groups[-1].rank)


def page_in_link() -> int | None:
    """The rank after which the page begins, as the URL has it."""
    text = st.query_params.get("after", "")
    return int(text) if text.isdecimal() else None


def go_to(after: int | None) -> None:
    """Begin the page elsewhere."""
    st.query_params.pop("after", None)
    if after is not None:
        st.query_params["after"] = str(after)


def draw_end() -> None:
    """Say that nothing is left to decide."""
    st.success(
        "Nothing is left to decide here. Filters in the side bar or an earlier page may hide some; "
        "`marketlens insights` looks again after the next ingest.",
        icon=":material/task_alt:",
    )


if __name__ == "__main__":
    main()

"""Buttons and keys to accept, reject, skip and undo."""

from typing import Any

import streamlit as st

from dashboard.review.question_queue import Queue
from search_api.client import ApiError
from search_api.schemas import Decision, DuplicateGroup, Suggestion

# Streamlit itself uses C and R.
DECISIONS: dict[Decision, tuple[str, str, str]] = {
    "accept": ("Accept", "A", ":material/check:"),
    "reject": ("Reject", "X", ":material/close:"),
    "skip": ("Skip", "S", ":material/skip_next:"),
}
IN_WORDS: dict[Decision, str] = {"accept": "Accepted", "reject": "Rejected", "skip": "Skipped"}


def draw_decisions(queue: Queue[Any], item: Suggestion | DuplicateGroup, *, by_key: bool = True) -> None:
    """Draw a button for each decision on `item`. Only one item of a page can have the keys."""
    for decision, (label, key, icon) in DECISIONS.items():
        st.button(
            label,
            # Each item has its own buttons, so that a second press never decides an item that the analyst has not seen.
            key=f"{decision}-{item.rank}",
            icon=icon,
            type="primary" if decision == "accept" and by_key else "secondary",
            shortcut=key if by_key else None,
            on_click=queue.decide,
            args=(item, decision),
        )


def draw_undo(queue: Queue[Any]) -> None:
    """Draw the button that withdraws the last verdict."""
    st.button(
        "Undo",
        key="undo",
        icon=":material/undo:",
        type="tertiary",
        shortcut="Z",
        disabled=not queue.undo_stack,
        on_click=queue.undo,
    )


def draw_problem(problem: ApiError | None, sentence: str = "The verdict was not saved.") -> None:
    """Draw why the last action failed, if it did."""
    if problem is None:
        return
    with st.container(border=True, key="verdict-problem"):
        st.error(sentence, icon=":material/error:")
        st.text(problem.detail)
        if problem.hint:
            st.text(problem.hint)

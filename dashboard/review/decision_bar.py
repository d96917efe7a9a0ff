"""Accept, reject, skip and undo: by click, and by key."""

from typing import Any

import streamlit as st

from dashboard.review.question_queue import Queue
from search_api.client import ApiError
from search_api.schemas import Decision, DuplicateGroup, Suggestion

# C and R are Streamlit's own.
DECISIONS: dict[Decision, tuple[str, str, str]] = {
    "accept": ("Accept", "A", ":material/check:"),
    "reject": ("Reject", "X", ":material/close:"),
    "skip": ("Skip", "S", ":material/skip_next:"),
}
IN_WORDS: dict[Decision, str] = {"accept": "Accepted", "reject": "Rejected", "skip": "Skipped"}


def draw_decisions(queue: Queue[Any], asked: Suggestion | DuplicateGroup, *, by_key: bool = True) -> None:
    """Draw a button for each decision on `asked`. Only one question of a page can have the keys."""
    for decision, (label, key, icon) in DECISIONS.items():
        st.button(
            label,
            # Another question, another button: a second press never decides what had not been seen.
            key=f"{decision}-{asked.rank}",
            icon=icon,
            type="primary" if decision == "accept" and by_key else "secondary",
            shortcut=key if by_key else None,
            on_click=queue.decide,
            args=(asked, decision),
        )


def draw_undo(queue: Queue[Any]) -> None:
    """Draw the way back."""
    st.button(
        "Undo",
        key="undo",
        icon=":material/undo:",
        type="tertiary",
        shortcut="Z",
        disabled=not queue.decided,
        on_click=queue.undo,
    )


def draw_problem(problem: ApiError | None, sentence: str = "The verdict was not kept.") -> None:
    """Say why what was pressed last was not done, if so."""
    if problem is None:
        return
    with st.container(border=True, key="verdict-problem"):
        st.error(sentence, icon=":material/error:")
        st.text(problem.detail)
        if problem.hint:
            st.text(problem.hint)

"""The saved verdicts: a table, an export, and a button to withdraw them."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.review.decision_bar import IN_WORDS, draw_problem
from dashboard.widgets.csv_export import as_csv
from search_api.client import ApiError, Client
from search_api.schemas import MAX_PAGE, Decision, Kind, Verdict, WrongCategory

SHOWN = MAX_PAGE
NOT_FOUND = 404
_PROBLEM = "withdrawal-problem"
COLUMNS: dict[str, Any] = {
    "verdict_id": st.column_config.NumberColumn("Verdict", format="%d"),
    "decided_at": st.column_config.DatetimeColumn("Decided (UTC)", format="D MMM YYYY, HH:mm"),
    "decision": "Decision",
    "listing_id": "Listing",
    "category": "Seller's category",
    "suggested_category": "Suggested",
    "decided_by": "By",
    "note": "Note",
}


def draw_verdicts(api: Client, kind: Kind) -> None:
    """Draw the verdicts of a kind, newest first."""
    draw_problem(st.session_state.pop(_PROBLEM, None), "Not every verdict was withdrawn.")
    decision = st.segmented_control(
        "Decision", list(IN_WORDS), format_func=IN_WORDS.__getitem__, key="decision", bind="query-params"
    )
    answer = api.verdicts(kind=kind, decision=decision, limit=SHOWN)
    if not answer.verdicts:
        st.info("There are no such verdicts yet.", icon=":material/gavel:")
        return
    draw_count(len(answer.verdicts), answer.total)
    selected = draw_table(answer.verdicts)
    with st.container(horizontal=True):
        draw_export(api, kind, decision)
        draw_withdrawal(api, selected)


def draw_count(shown: int, total: int) -> None:
    """Draw the number of verdicts, and how to withdraw them."""
    more = f" Only the newest {shown:,} are shown; the export contains all." if shown < total else ""
    st.caption(
        f"{total:,} in all, newest first.{more} Select rows to withdraw their verdicts: the questions are asked again."
    )


def draw_table(verdicts: Sequence[Verdict]) -> list[int]:
    """Draw a row for each listing of each verdict; return the IDs of the selected verdicts."""
    frame = verdicts_frame(verdicts)
    # Streamlit stores the positions of selected rows: a different list needs a different key, to start without any.
    key = f"verdicts-{hash(tuple(verdict.verdict_id for verdict in verdicts))}"
    event = st.dataframe(
        frame, hide_index=True, column_config=COLUMNS, key=key, on_select="rerun", selection_mode="multi-row"
    )
    return sorted({int(number) for number in frame["verdict_id"].iloc[event["selection"]["rows"]]})


def draw_export(api: Client, kind: Kind, decision: Decision | None) -> None:
    """Draw a button that downloads all verdicts. They are fetched when it is pressed."""
    st.download_button(
        "Export as CSV",
        lambda: as_csv([row for verdict in every_verdict(api, kind, decision) for row in rows_of(verdict)]),
        file_name=f"{kind}-verdicts.csv",
        mime="text/csv",
        icon=":material/download:",
        key="export",
        on_click="ignore",
    )


def draw_withdrawal(api: Client, verdict_ids: Sequence[int]) -> None:
    """Draw a button that withdraws the verdicts that are selected when it is drawn, even if the list changes."""
    st.button(
        f"Withdraw {len(verdict_ids)}" if verdict_ids else "Withdraw",
        key="withdraw",
        icon=":material/undo:",
        disabled=not verdict_ids,
        on_click=withdraw,
        args=(api, verdict_ids),
    )


def withdraw(api: Client, verdict_ids: Sequence[int]) -> None:
    """Withdraw verdicts. Ignore those that a second press or somebody else has already withdrawn."""
    for verdict_id in verdict_ids:
        try:
            api.withdraw(verdict_id)
        except ApiError as error:
            if error.status != NOT_FOUND:
                st.session_state[_PROBLEM] = error
                return


def every_verdict(api: Client, kind: Kind, decision: Decision | None) -> Iterator[Verdict]:
    """Yield all verdicts, newest first, page by page."""
    fetch_page = partial(api.verdicts, kind=kind, decision=decision, limit=SHOWN)
    answer = fetch_page()
    yield from answer.verdicts
    while answer.next_before is not None:
        answer = fetch_page(before=answer.next_before)
        yield from answer.verdicts


def verdicts_frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Return a row for each listing of each verdict."""
    return pd.DataFrame([row for verdict in verdicts for row in rows_of(verdict)])


def rows_of(verdict: Verdict) -> Iterator[dict[str, object]]:
    """Yield a row for each listing; the listings of a duplicate share its `verdict_id`."""
    question = verdict.question
    if isinstance(question, WrongCategory):
        listings = [question.model_dump(include={"listing_id", "category", "suggested_category"})]
    else:
        listings = [{"listing_id": listing_id} for listing_id in question.listing_ids]
    common = verdict.model_dump(include={"verdict_id", "decided_at", "decision", "decided_by", "note"})
    for listing in listings:
        yield {name: (common | listing)[name] for name in COLUMNS if name in common | listing}

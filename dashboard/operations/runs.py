"""The ingest runs, and their rejected rows."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.widgets.csv_export import as_csv
from search_api.client import Client
from search_api.schemas import IngestRun, RejectedRow

ROWS = 1_000
COLUMNS: dict[str, Any] = {
    "run_id": "Run",
    "state": "State",
    "started_at": st.column_config.DatetimeColumn("Started (UTC)", format="D MMM YYYY, HH:mm"),
    "seconds": st.column_config.NumberColumn("Seconds", format="%.0f"),
    **{
        name: st.column_config.NumberColumn(name.capitalize(), format="localized")
        for name in ("read", "written", "unchanged", "rejected", "removed")
    },
    "export": "Export",
    "collection": "Collection",
}


def draw_runs(api: Client, runs: Sequence[IngestRun]) -> None:
    """Draw all runs, and the details of one of them."""
    if not runs:
        st.info(
            "The ledger that the API reads contains no runs. `marketlens ingest` writes it; "
            "`MARKETLENS_INGEST__LEDGER` sets its location.",
            icon=":material/receipt_long:",
        )
        return
    st.caption("Newest first. Read = written + unchanged + rejected.")
    st.dataframe(
        pd.DataFrame([run.model_dump(include=set(COLUMNS)) for run in runs]),
        hide_index=True,
        column_config=COLUMNS,
        column_order=list(COLUMNS),
        key="runs",
    )
    draw_run(api, choose_run(runs))


def choose_run(runs: Sequence[IngestRun]) -> IngestRun:
    """Return the selected run, by default the newest with rejected rows. It is in the URL."""
    by_id = {run.run_id: run for run in runs}
    default = next((position for position, run in enumerate(runs) if run.rejected), 0)
    return by_id[st.selectbox("Details of run", list(by_id), default, key="run", bind="query-params")]


def draw_run(api: Client, run: IngestRun) -> None:
    """Draw a run's time by stage, its warnings and its rejected rows."""
    stages = ", ".join(f"{name} {seconds:,.1f} s" for name, seconds in run.stage_seconds.items())
    st.text(
        f"{run.state}; {run.export} into {run.collection}. Time per stage, over all threads: {stages or 'unknown'}."
    )
    if run.warnings:
        with st.expander(f"{len(run.warnings):,} warnings", icon=":material/warning:"):
            st.text("\n".join(run.warnings))
    if run.rejected:
        draw_rejected(api, run.run_id)
    else:
        st.success("All rows were ingested.", icon=":material/task_alt:")


def draw_rejected(api: Client, run_id: str) -> None:
    """Draw the rejected rows of a run with their reasons, and their export."""
    answer = api.rejected(run_id, limit=ROWS)
    st.subheader(f"{answer.total:,} rejected {'row' if answer.total == 1 else 'rows'}", anchor=False)
    if len(answer.rows) < answer.total:
        st.caption(f"Only the first {len(answer.rows):,} are shown; the export contains all.")
    reasons = Counter(row.reason for row in answer.rows).most_common()
    st.text(", ".join(f"{reason}: {count:,}" for reason, count in reasons))
    st.dataframe(
        pd.DataFrame([row.model_dump() for row in answer.rows]),
        hide_index=True,
        column_config={name: name.replace("_", " ").capitalize() for name in RejectedRow.model_fields},
        key="rejected",
    )
    st.download_button(
        "Export as CSV",
        lambda: as_csv([row.model_dump() for row in every_rejected_row(api, run_id)]),
        file_name=f"rejected-{run_id}.csv",
        mime="text/csv",
        icon=":material/download:",
        key="download-rejected",
        on_click="ignore",
    )


def every_rejected_row(api: Client, run_id: str) -> Iterator[RejectedRow]:
    """Yield all rejected rows of a run, page by page."""
    after: int | None = 0
    while after is not None:
        answer = api.rejected(run_id, after=after, limit=ROWS)
        yield from answer.rows
        after = answer.next_after

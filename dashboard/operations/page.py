"""The Operations page: the builds, the ingest runs, and the activity of the API."""

import streamlit as st

from dashboard.api import connect
from dashboard.operations.activity import draw_activity
from dashboard.operations.builds import draw_builds
from dashboard.operations.runs import draw_runs
from dashboard.widgets.admin import fetch_as_admin
from dashboard.widgets.notices import api_errors_shown

RUNS = 50


def main() -> None:
    """Draw the page."""
    api = connect()
    st.title("Operations")
    with api_errors_shown():
        builds = fetch_as_admin(api.builds, "This page")
        if builds is None:
            return
        builds_tab, runs_tab, activity_tab = st.tabs(
            ["Builds", "Ingest runs", "Activity"], key="view", on_change="rerun", bind="query-params"
        )
        with builds_tab:
            if builds_tab.open:
                draw_builds(api, builds)
        with runs_tab, api_errors_shown():
            if runs_tab.open:
                draw_runs(api, api.runs(RUNS).runs)
        with activity_tab:
            if activity_tab.open:
                draw_activity(api)


if __name__ == "__main__":
    main()

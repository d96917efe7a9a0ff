"""The builds: which one is live, how each is indexed, and buttons to change the live one."""

from collections.abc import Callable

import streamlit as st

from dashboard.widgets.admin import draw_refusal
from search_api.client import ApiError, Client
from search_api.schemas import Build, BuildsResponse


def draw_builds(api: Client, answer: BuildsResponse) -> None:
    """Draw each build with its actions."""
    st.text(f"Searches go to the alias {answer.alias}, which points at the live build.")
    if answer.pending:
        with st.container(border=True, key="pending"):
            st.warning("A promoted build cannot answer searches yet.", icon=":material/hourglass:")
            st.text(answer.pending)
    if not answer.builds:
        st.info("There is no build yet. Create the first one with `marketlens ingest`.", icon=":material/inventory_2:")
    for build in answer.builds:
        draw_build(api, build)


def draw_build(api: Client, build: Build) -> None:
    """Draw the facts of a build, and its action."""
    with st.container(border=True, key=f"build-{build.name}"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(build.name, anchor=False, width="stretch")
            draw_action(api, build)
        grid = st.grid(columns=3, min_column_width=200)
        for name, fact in facts_of(build).items():
            with grid.container(gap=None):
                st.caption(name)
                st.text(fact)


def draw_action(api: Client, build: Build) -> None:
    """Draw the state or the action of a build: live, roll back, incomplete or promote."""
    if build.is_live:
        st.badge("Live", icon=":material/check_circle:", color="green")
    elif build.is_previous:
        if st.button("Roll back to this", key="rollback", icon=":material/history:"):
            confirm(
                f"Roll back to {build.name}? It was live before. It lacks everything that was ingested since.",
                api.rollback,
            )
    elif build.state != "ready":
        st.badge("Incomplete", icon=":material/construction:", color="orange")
    elif st.button("Promote", key=f"promote-{build.name}", icon=":material/publish:"):
        confirm(
            f"Promote {build.name}? Searches switch to it when its model is loaded; none fails in the meantime.",
            lambda: api.promote(build.name),
        )


@st.dialog("Change the live build")
def confirm(question: str, change: Callable[[], BuildsResponse]) -> None:
    """Ask for confirmation, then change the live build; draw a refusal if it cannot be changed."""
    st.text(question)
    with st.container(horizontal=True):
        confirmed = st.button("Yes, change it", key="confirm", type="primary")
        if st.button("Cancel", key="cancel"):
            st.rerun()
    if confirmed:
        try:
            change()
        except ApiError as error:
            draw_refusal(
                "This needs an admin key." if error.status == 403 else "The live build was not changed.", error
            )
        else:
            st.rerun()


def facts_of(build: Build) -> dict[str, str]:
    """Return the facts of a build by name."""
    parameters = ", ".join(f"{name} {value}" for name, value in build.index.items() if name != "type")
    return {
        "Photos": "unknown" if build.photos is None else f"{build.photos:,}",
        "Index": " · ".join(part for part in (str(build.index.get("type", "unknown")), parameters) if part),
        "State": build.state,
        "Model": build.model or "unknown",
        "Model's fingerprint": build.model_fingerprint[:12],
        "Build": build.build,
    }

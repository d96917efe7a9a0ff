"""The explanation of a hit: query and hit side by side, each with a heat map of what matched."""

import base64
from collections.abc import Sequence

import streamlit as st

from dashboard.search.answer_pages import all_hits
from dashboard.search.search_query import SearchQuery
from dashboard.widgets.notices import api_errors_shown
from dashboard.widgets.tiles import listing_facts
from search_api.client import Client
from search_api.schemas import HeatMap, SearchHit, SearchResponse


def request_explanation(listing_id: str) -> None:
    """Explain a hit at the next run."""
    st.session_state["why"] = listing_id


def draw_explanation(api: Client, query: SearchQuery, pages: Sequence[SearchResponse]) -> None:
    """Open the requested explanation, if any."""
    listing_id = st.session_state.pop("why", None)
    hit = next((hit for hit in all_hits(pages) if hit.listing_id == listing_id), None)
    if hit:
        _draw_dialog(api, query, hit)


@st.dialog("Why this listing?", width="medium")
def _draw_dialog(api: Client, query: SearchQuery, hit: SearchHit) -> None:
    with api_errors_shown():
        with st.spinner("Comparing both photos …"):
            explanation = api.explain(query.explain(hit.photo_id), query.contents)
        sides = st.grid(columns=2, min_column_width=130)
        with sides.container(key="why-query"):
            st.text("Query")
            _draw_heat(explanation.query, "The query, with a heat map of what matched")
        with sides.container(key="why-hit"):
            st.text("Hit")
            _draw_heat(explanation.hit, "The hit, with a heat map of what matched")
        st.caption("The warmer an area, the more it contributed to the score.")
        with st.container(key="title-why"):
            st.text(hit.title)
        st.text(" · ".join(listing_facts(hit)))
        st.text(_match_in_words(explanation.score, hit))


def _draw_heat(heat: HeatMap | None, alt: str) -> None:
    if heat is None or heat.overlay_png is None:
        st.info("No heat map: the query combines several examples.", icon=":material/info:")
        return
    st.image(base64.b64decode(heat.overlay_png), width="stretch", alt=alt)


def _match_in_words(score: float, hit: SearchHit) -> str:
    if hit.probability is None:
        return f"Score of these two photos: {score:.3f}"
    return f"Score of these two photos: {score:.3f}; the same item with a probability of {hit.probability:.0%}"

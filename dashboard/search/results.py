"""The results: the predicted categories, the grid of hits, and their CSV export."""

from collections.abc import Sequence

import streamlit as st

from dashboard.search.answer_pages import all_hits, request_next_page
from dashboard.search.example_actions import add_negative, add_positive, clear_filters
from dashboard.search.match_explanation import request_explanation
from dashboard.search.state import SearchState
from dashboard.widgets.csv_export import draw_csv_button
from dashboard.widgets.tiles import PHOTO_PIXELS, Action, Tile, draw_tiles, listing_facts
from search_api.client import Client
from search_api.schemas import SearchHit, SearchResponse, Timings

ACTIONS = (
    Action("more", "More like this", lambda tile: add_positive(tile.listing_id)),
    Action("less", "Not this", lambda tile: add_negative(tile.listing_id)),
    Action("why", "Why?", lambda tile: request_explanation(tile.listing_id)),
)
MAX_PREDICTED = 3

_ONLY_SIMILAR = "They are only the most similar ones."
_NO_GOOD_MATCH = {
    "photo": f"No good match: none of these is likely to be the same item. {_ONLY_SIMILAR}",
    "words": f"No good match: none of these is likely to be what the words say. {_ONLY_SIMILAR}",
    "examples": "No listing was found for these examples.",
}


def draw_instructions(state: SearchState) -> None:
    """Draw how to use the page, or that no price can pass the filters."""
    if state.prices_crossed:
        st.info("The lowest price is above the highest: change the filters.", icon=":material/search_off:")
        return
    st.info(
        "Say what you look for, upload a photo of it, or enter a listing ID to find similar ones. Words and photos can "
        "be combined. Then use the buttons below a hit to get more listings like it, or fewer. Filters narrow the "
        "results. The address of this page contains the words, listings and filters, so you can share it.",
        icon=":material/image_search:",
    )


def draw_hits(api: Client, state: SearchState, pages: Sequence[SearchResponse]) -> None:
    """Draw the hits, or the filters that may exclude all listings."""
    first, last, hits = pages[0], pages[-1], all_hits(pages)
    _draw_predicted(first)
    if not hits:
        _draw_no_hits(state)
        return
    _draw_heading(hits, last)
    if first.no_good_match:
        st.warning(_NO_GOOD_MATCH[first.asked_by], icon=":material/help:")
    draw_tiles([_tile(api, hit, first.asked_by) for hit in hits], ACTIONS)
    if last.cursor:
        st.button("Next page", key="next", icon=":material/expand_more:", on_click=request_next_page)
    else:
        st.caption("These are all the listings that pass the filters.")


def _draw_predicted(answer: SearchResponse) -> None:
    if not answer.predicted_categories:
        return
    with st.container(horizontal=True, gap="xsmall", key="predicted", vertical_alignment="center"):
        st.text("Looks like")
        for predicted in answer.predicted_categories[:MAX_PREDICTED]:
            st.badge(f"{_escape_markdown(predicted.category)} {predicted.probability:.0%}", color="gray")


def _draw_heading(hits: Sequence[SearchHit], answer: SearchResponse) -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="heading"):
        count = "1 listing" if len(hits) == 1 else f"{len(hits):,} listings, nearest first"
        st.caption(f"{count} · {_timings_in_words(answer.timings_ms)}")
        draw_csv_button(lambda: [_row(rank, hit) for rank, hit in enumerate(hits, start=1)], "hits")


def _timings_in_words(timings: Timings) -> str:
    stages = {name: getattr(timings, name) for name in ("read", "decode", "embed", "search")}
    by_stage = ", ".join(f"{name} {value:.0f}" for name, value in stages.items() if value >= 0.5)
    return f"{timings.total:.0f} ms" + (f" ({by_stage})" if by_stage else "")


def _draw_no_hits(state: SearchState) -> None:
    """Draw the filters that may exclude all listings."""
    filters = state.filters_in_words()
    if not filters:
        reason = "the model does not know these words" if state.text else "the collection contains no others"
        st.info(f"No listing was found: {reason}.", icon=":material/search_off:")
        return
    st.info("No listing passes these filters. Relax one of them:", icon=":material/search_off:")
    for phrase in filters:
        st.text(phrase)
    st.button("Clear filters", key="clear-filters", on_click=clear_filters)


def _tile(api: Client, hit: SearchHit, asked_by: str) -> Tile:
    match = f"Score {hit.score:.3f}"
    if hit.probability is not None:
        match += f" · {'fits' if asked_by == 'words' else 'same item'} {hit.probability:.0%}"
    facts = [match, *listing_facts(hit)]
    if hit.matched_photos > 1:
        facts.append(f"{hit.matched_photos} photos match")
    photo = api.photo_address(hit.photo_url, PHOTO_PIXELS)
    return Tile(hit.listing_id, hit.listing_id, photo, hit.title, tuple(facts))


def _row(rank: int, hit: SearchHit) -> dict[str, object]:
    return {
        "rank": rank,
        "listing_id": hit.listing_id,
        "title": hit.title,
        "category": hit.category,
        "subcategory": hit.subcategory,
        "price": hit.price,
        "currency": hit.currency,
        "location": hit.location,
        "listed_at": hit.listed_at,
        "score": round(hit.score, 4),
        "probability": hit.probability,
        "photo_id": hit.photo_id,
        "matched_photos": hit.matched_photos,
    }


def _escape_markdown(text: str) -> str:
    """Escape a text so that Markdown shows it unchanged."""
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]()#+-.!|<>~:$" else letter for letter in text)

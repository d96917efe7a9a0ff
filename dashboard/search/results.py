"""The answer: what the photo shows, the grid of hits, and what can be taken along."""

from collections.abc import Sequence

import streamlit as st

from dashboard.search.answer_pages import every_hit, want_next_page
from dashboard.search.example_actions import do_not_want, drop_filters, want
from dashboard.search.match_explanation import ask_why
from dashboard.search.state import SearchState
from dashboard.widgets.csv_export import draw_csv_button
from dashboard.widgets.tiles import PHOTO_PIXELS, Action, Tile, draw_tiles, listing_facts
from search_api.client import Client
from search_api.schemas import SearchHit, SearchResponse, Timings

ACTIONS = (
    Action("more", "More like this", lambda tile: want(tile.listing_id)),
    Action("less", "Not this", lambda tile: do_not_want(tile.listing_id)),
    Action("why", "Why?", lambda tile: ask_why(tile.listing_id)),
)
MOST_PREDICTED = 3


def draw_invitation(asked: SearchState) -> None:
    """Say what can be done here."""
    if asked.prices_crossed:
        st.info("No price is above the lowest and below the highest: mend the filters.", icon=":material/search_off:")
        return
    st.info(
        "Give a photo to find the listings that look like it, or the id of a listing to find others like it. Each hit "
        "can then be asked for more like it, or for less. The filters narrow the answer; the address of this page "
        "keeps listings and filters, so it can be shared.",
        icon=":material/image_search:",
    )


def draw_answer(api: Client, asked: SearchState, pages: Sequence[SearchResponse]) -> None:
    """Draw the hits, or why there may be none."""
    first, last, hits = pages[0], pages[-1], every_hit(pages)
    _draw_predicted(first)
    if not hits:
        _draw_no_hits(asked)
        return
    _draw_heading(hits, last)
    if first.no_good_match:
        st.warning(
            "No good match: none of these is likely to be the same item. They are merely the nearest.",
            icon=":material/help:",
        )
    draw_tiles([_tile(api, hit) for hit in hits], ACTIONS)
    if last.cursor:
        st.button("Next page", key="next", icon=":material/expand_more:", on_click=want_next_page)
    else:
        st.caption("These are all that pass the filters.")


def _draw_predicted(answer: SearchResponse) -> None:
    if not answer.predicted_categories:
        return
    with st.container(horizontal=True, gap="xsmall", key="predicted", vertical_alignment="center"):
        st.text("Looks like")
        for predicted in answer.predicted_categories[:MOST_PREDICTED]:
            st.badge(f"{_plain(predicted.category)} {predicted.probability:.0%}", color="gray")


def _draw_heading(hits: Sequence[SearchHit], answer: SearchResponse) -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="heading"):
        many = "1 listing" if len(hits) == 1 else f"{len(hits):,} listings, nearest first"
        st.caption(f"{many} · {_timings_in_words(answer.timings_ms)}")
        draw_csv_button(lambda: [_row(rank, hit) for rank, hit in enumerate(hits, start=1)], "hits")


def _timings_in_words(timings: Timings) -> str:
    stages = {name: getattr(timings, name) for name in ("read", "decode", "embed", "search")}
    spent = ", ".join(f"{name} {value:.0f}" for name, value in stages.items() if value >= 0.5)
    return f"{timings.total:.0f} ms" + (f" ({spent})" if spent else "")


def _draw_no_hits(asked: SearchState) -> None:
    """Say which filters may have left nothing."""
    filters = asked.filters_in_words()
    if not filters:
        st.info("No listing was found: the collection holds no other.", icon=":material/search_off:")
        return
    st.info("No listing passes these filters. Loosen one of them:", icon=":material/search_off:")
    for phrase in filters:
        st.text(phrase)
    st.button("Drop the filters", key="drop-filters", on_click=drop_filters)


def _tile(api: Client, hit: SearchHit) -> Tile:
    match = f"Score {hit.score:.3f}"
    if hit.probability is not None:
        match += f" · same item {hit.probability:.0%}"
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


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]()#+-.!|<>~:$" else letter for letter in text)

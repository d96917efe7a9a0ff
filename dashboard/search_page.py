"""Search: a photo, or a listing, finds the listings that look like it."""

import base64
from collections.abc import Sequence

import streamlit as st
from streamlit.typing import UploadedFile

from dashboard.asked import Asked
from dashboard.categories import choose_categories
from dashboard.fetching import connect, fetch_categories
from dashboard.link import (
    ask_about,
    drop_filters,
    forget_listing,
    forget_photo,
    photo_key,
    put_in_link,
    start_again,
    take_over_link,
)
from dashboard.notices import api_errors_shown
from dashboard.tiles import PHOTO_PIXELS, Tile, draw_tiles, listing_facts
from search_api.client import Client
from search_api.schemas import MAX_LIMIT, CategoryCount, ListingResponse, SearchHit, SearchResponse

QUESTION_PIXELS = 140


def main() -> None:
    """Draw the page."""
    api = connect()
    st.title("Search by photo")
    take_over_link()
    photo = draw_question_inputs()
    with api_errors_shown():
        draw_filters(fetch_categories(api))
        asked = put_in_link()
        if asked.prices_crossed:
            st.warning("The lowest price is above the highest.")
        elif photo is not None:
            answer = api.search(asked.request(), [photo.getvalue()])
            draw_photo(photo)
            draw_answer(api, asked, answer)
        elif asked.listing_id:
            answer = api.search(asked.request())
            draw_listing(api, api.listing(asked.listing_id))
            draw_answer(api, asked, answer)
        else:
            draw_invitation()


def draw_question_inputs() -> UploadedFile | None:
    """Ask for a photo or a listing; the one given last counts."""
    upload, listing = st.columns([3, 2], gap="medium")
    photo = upload.file_uploader(
        "Upload a photo",
        type=["jpg", "jpeg", "png", "webp"],
        key=photo_key(),
        on_change=forget_listing,
    )
    listing.text_input("or give a listing's id", key="listing_id", on_change=forget_photo)
    listing.button("Clear", key="clear", icon=":material/close:", on_click=start_again)
    return photo


def draw_filters(categories: Sequence[CategoryCount]) -> None:
    """Draw the filters in the side bar."""
    with st.sidebar:
        st.header("Filters")
        choose_categories({count.category: count.listings for count in categories}, key="category")
        low, high = st.columns(2)
        low.number_input("Lowest price", min_value=0.0, value=None, key="price_min")
        high.number_input("Highest price", min_value=0.0, value=None, key="price_max")
        st.text_input("Location begins with", key="location", placeholder="Leeds", help="Capitals matter.")
        st.number_input("Listings at most", min_value=1, max_value=MAX_LIMIT, step=10, key="limit")


def draw_invitation() -> None:
    """Say what can be done here."""
    st.info(
        "Upload a photo to find the listings that look like it, or give the id of a listing to find others like it. "
        "The filters narrow the answer; the address of this page keeps the listing and the filters, so it can be "
        "shared. The Clusters page shows the whole collection at once.",
        icon=":material/image_search:",
    )


def draw_photo(photo: UploadedFile) -> None:
    """Draw the uploaded photo."""
    with st.container(horizontal=True, key="question", vertical_alignment="center"):
        # As a data URL the browser gets the bytes as they are, and so turns a telephone's photo upright.
        source = f"data:{photo.type};base64,{base64.b64encode(photo.getvalue()).decode()}"
        st.image(source, width=QUESTION_PIXELS, alt="The uploaded photo")
        with st.container(gap="xxsmall", width="content"):
            st.text("Listings like the uploaded photo")
            st.text(photo.name)


def draw_listing(api: Client, listing: ListingResponse) -> None:
    """Draw the listing that is asked about."""
    with st.container(horizontal=True, key="question", vertical_alignment="center"):
        for photo in listing.photos[:2]:
            st.image(
                api.photo_address(photo.photo_url, PHOTO_PIXELS), width=QUESTION_PIXELS, alt="The listing asked about"
            )
        with st.container(gap="xxsmall", width="content"):
            st.text("Listings like")
            with st.container(key="title-asked"):
                st.text(listing.title)
            st.text(" · ".join(listing_facts(listing)))


def draw_answer(api: Client, asked: Asked, answer: SearchResponse) -> None:
    """Draw the hits, or why there may be none."""
    if not answer.hits:
        draw_no_hits(asked)
        return
    st.caption(f"{len(answer.hits)} listings, nearest first, in {answer.timings_ms.total:.0f} ms")
    draw_tiles([_tile(api, hit) for hit in answer.hits], ask_about)


def draw_no_hits(asked: Asked) -> None:
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
    match = [f"Score {hit.score:.3f}"]
    if hit.matched_photos > 1:
        match.append(f"{hit.matched_photos} photos match")
    photo = api.photo_address(hit.photo_url, PHOTO_PIXELS)
    return Tile(hit.listing_id, hit.listing_id, photo, hit.title, (*match, *listing_facts(hit)))


if __name__ == "__main__":
    main()

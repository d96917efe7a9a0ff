"""The inputs of a search: words, uploaded photos and example listings."""

from collections.abc import Sequence

import streamlit as st
from streamlit.typing import UploadedFile

from dashboard.search.example_actions import (
    add_positive,
    clear_examples_for_new_photo,
    remove_example,
    reset_search,
    uploader_key,
)
from dashboard.search.photo_components import draw_crop, take_pasted_photos
from dashboard.search.search_query import Photo, SearchQuery
from dashboard.search.state import SearchState
from dashboard.widgets.tiles import PHOTO_PIXELS, listing_facts
from search_api.client import Client
from search_api.schemas import MAX_EXAMPLES, MAX_UPLOADS

EXAMPLE_PIXELS = 240
MAX_TEXT = 2_000
LISTING_PIXELS = 150


def draw_inputs() -> list[UploadedFile]:
    """Draw the inputs for words, for photos and for a listing's ID; return the uploads."""
    st.text_input(
        "Words",
        key="text",
        max_chars=MAX_TEXT,
        placeholder="What is it? For example: oak table, or blue, together with a photo",
        icon=":material/search:",
    )
    upload, listing = st.columns([3, 2], gap="medium")
    photos = upload.file_uploader(
        "and photos of one thing: drop, pick, or paste with Ctrl + V",
        type=["jpg", "jpeg", "png", "webp"],
        accept_multiple_files=True,
        key=uploader_key(),
        on_change=clear_examples_for_new_photo,
    )
    with listing:
        st.text_input(
            "or a listing ID", key="id_typed", on_change=_add_typed_id, placeholder="Paste an ID and press Enter"
        )
        st.button("Start again", key="clear", icon=":material/close:", on_click=reset_search)
    take_pasted_photos()
    if len(photos) > MAX_UPLOADS:
        st.warning(f"Only the first {MAX_UPLOADS} photos are used.")
    return photos[:MAX_UPLOADS]


def draw_examples(api: Client, state: SearchState, uploads: Sequence[UploadedFile]) -> tuple[Photo, ...]:
    """Draw the positive and negative examples; return the photos with the parts that are marked on them."""
    with st.container(horizontal=True, key="examples"):
        photos = tuple(_draw_upload(number, upload) for number, upload in enumerate(uploads, start=1))
        for listing_id in state.listing_id:
            _draw_listing(api, listing_id, "Like")
        for listing_id in state.unlike:
            _draw_listing(api, listing_id, "Not like")
    return photos


def draw_left_out_warning(query: SearchQuery) -> None:
    """Draw how many of the examples are not used, if any."""
    if query.left_out_count:
        st.warning(
            f"A search takes up to {MAX_EXAMPLES} positive and {MAX_EXAMPLES} negative examples. "
            f"Left out: {query.left_out_count} (the listings that were added first, and the last photos)."
        )


def _draw_upload(number: int, upload: UploadedFile) -> Photo:
    photo = Photo(upload.file_id, upload.name, upload.type, upload.getvalue())
    with st.container(width=EXAMPLE_PIXELS, key=f"example-{photo.key}"):
        return Photo(photo.key, photo.name, photo.content_type, photo.content, draw_crop(photo, f"Your photo {number}"))


def _draw_listing(api: Client, listing_id: str, label: str) -> None:
    listing = api.listing(listing_id)
    with st.container(width=LISTING_PIXELS, gap="xxsmall", key=f"example-{listing_id}"):
        st.image(api.photo_address(listing.photos[0].photo_url, PHOTO_PIXELS), width="stretch", alt=listing.title)
        st.badge(label, color="green" if label == "Like" else "red")
        with st.container(key=f"title-{listing_id}-asked"):
            st.text(listing.title)
        st.text(" · ".join(listing_facts(listing)[:2]), wrap=False)
        st.button("Remove", key=f"forget-{listing_id}", on_click=remove_example, args=(listing_id,))


def _add_typed_id() -> None:
    typed = st.session_state["id_typed"].strip()
    if typed:
        add_positive(typed)
        st.session_state["id_typed"] = ""

"""What is searched by: uploaded photos and listings, each shown with what can be done about it."""

from collections.abc import Sequence

import streamlit as st
from streamlit.typing import UploadedFile

from dashboard.search.example_actions import forget_example, forget_examples_of_before, start_again, uploader_key, want
from dashboard.search.photo_components import draw_crop, take_pasted_photos
from dashboard.search.question import Photo, Question
from dashboard.search.state import SearchState
from dashboard.widgets.tiles import PHOTO_PIXELS, listing_facts
from search_api.client import Client
from search_api.schemas import MAX_EXAMPLES, MAX_UPLOADS

EXAMPLE_PIXELS = 240
LISTING_PIXELS = 150


def draw_inputs() -> list[UploadedFile]:
    """Ask for photos or a listing."""
    upload, listing = st.columns([3, 2], gap="medium")
    photos = upload.file_uploader(
        "Photos of one thing: drop, pick, or paste with Ctrl + V",
        type=["jpg", "jpeg", "png", "webp"],
        accept_multiple_files=True,
        key=uploader_key(),
        on_change=forget_examples_of_before,
    )
    with listing:
        st.text_input("or a listing's id", key="id_typed", on_change=_want_typed, placeholder="and Enter")
        st.button("Start again", key="clear", icon=":material/close:", on_click=start_again)
    take_pasted_photos()
    if len(photos) > MAX_UPLOADS:
        st.warning(f"Only the first {MAX_UPLOADS} photos count.")
    return photos[:MAX_UPLOADS]


def draw_examples(api: Client, asked: SearchState, uploads: Sequence[UploadedFile]) -> tuple[Photo, ...]:
    """Draw what is wanted and what is not; return the photos with the parts marked on them."""
    with st.container(horizontal=True, key="examples"):
        photos = tuple(_draw_upload(place, upload) for place, upload in enumerate(uploads, start=1))
        for listing_id in asked.listing_id:
            _draw_listing(api, listing_id, "Like")
        for listing_id in asked.unlike:
            _draw_listing(api, listing_id, "Not like")
    return photos


def draw_left_out(question: Question) -> None:
    """Say how much of what is shown does not count, if any."""
    if question.left_out:
        st.warning(
            f"A search takes {MAX_EXAMPLES} examples of what is wanted and {MAX_EXAMPLES} of what is not. "
            f"Left out: {question.left_out}, the listings that were chosen first and the last photos."
        )


def _draw_upload(place: int, upload: UploadedFile) -> Photo:
    photo = Photo(upload.file_id, upload.name, upload.type, upload.getvalue())
    with st.container(width=EXAMPLE_PIXELS, key=f"example-{photo.key}"):
        return Photo(photo.key, photo.name, photo.content_type, photo.content, draw_crop(photo, f"Your photo {place}"))


def _draw_listing(api: Client, listing_id: str, how: str) -> None:
    listing = api.listing(listing_id)
    with st.container(width=LISTING_PIXELS, gap="xxsmall", key=f"example-{listing_id}"):
        st.image(api.photo_address(listing.photos[0].photo_url, PHOTO_PIXELS), width="stretch", alt=listing.title)
        st.badge(how, color="green" if how == "Like" else "red")
        with st.container(key=f"title-{listing_id}-asked"):
            st.text(listing.title)
        st.text(" · ".join(listing_facts(listing)[:2]), wrap=False)
        st.button("Remove", key=f"forget-{listing_id}", on_click=forget_example, args=(listing_id,))


def _want_typed() -> None:
    typed = st.session_state["id_typed"].strip()
    if typed:
        want(typed)
        st.session_state["id_typed"] = ""

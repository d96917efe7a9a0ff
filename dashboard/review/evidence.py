"""What speaks for and against a suggested category."""

import html
from collections.abc import Iterable

import streamlit as st

from dashboard.widgets.tiles import PHOTO_PIXELS, Tile, draw_tiles, price_in_words
from search_api.client import Client
from search_api.schemas import Evidence, Suggestion

LARGE_PIXELS = 800
# Of the evidence, not of the mistake: a certainty weighs two categories, and is no measured probability.
CERTAINTIES = [(0.9, "Strong evidence"), (0.75, "Good evidence"), (0.6, "Some evidence"), (0.0, "Weak evidence")]


def certainty_in_words(certainty: float) -> str:
    """Name a certainty between 0 and 1."""
    return next(words for least, words in CERTAINTIES if certainty >= least)


def draw_listing_photos(api: Client, asked: Suggestion) -> None:
    """Draw the photo that disagrees most, large, and the listing's others below it."""
    with st.container(key="large-photo"):
        st.image(api.photo_address(asked.photo_urls[0], LARGE_PIXELS), width="stretch", alt=asked.title)
    others = asked.photo_urls[1:]
    if others:
        with st.container(horizontal=True, key="other-photos", gap="small"):
            for photo in others:
                st.image(api.photo_address(photo, PHOTO_PIXELS), width=96, alt="Another photo of the listing")


def draw_categories(asked: Suggestion) -> None:
    """Draw the listing's words, and both categories with what the model and the neighbours say of them."""
    st.html(_categories_html(asked))
    with st.container(key="title-asked"):
        st.text(asked.title)
    place = " · ".join(fact for fact in (price_in_words(asked.price, asked.currency), asked.location) if fact)
    st.text(place)
    st.text(f"Listing {asked.listing_id}")


def draw_neighbours(api: Client, asked: Suggestion) -> None:
    """Draw the other listings' photos that look most like it."""
    st.subheader("What looks like it")
    st.text(f"Those in {asked.suggested_category} come first and are framed.")
    draw_tiles((_tile(api, near, asked) for near in asked.neighbours), least_pixels=120)


def preload(api: Client, upcoming: Iterable[Suggestion]) -> None:
    """Have the browser load the next question's photos while this one is looked at."""
    photos = [api.photo_address(one.photo_urls[0], LARGE_PIXELS) for one in upcoming]
    photos += [api.photo_address(near.photo_url, PHOTO_PIXELS) for one in upcoming for near in one.neighbours]
    if photos:
        images = "".join(f'<img src="{html.escape(photo)}" alt="">' for photo in photos)
        st.html(f'<div hidden aria-hidden="true">{images}</div>')


def _categories_html(asked: Suggestion) -> str:
    """Sellers' words are in it, so all of it is escaped."""
    return f"""<div class="certainty"><strong>{certainty_in_words(asked.certainty)}</strong>
        <span>certainty {asked.certainty:.0%}</span></div>
        <dl class="versus">
        <div><dt>Seller's category</dt><dd>{html.escape(asked.category)}</dd>
        <dd>{_given(asked.seller_probability)}.</dd></div>
        <div class="suggested"><dt>Suggested</dt><dd>{html.escape(asked.suggested_category)}</dd>
        <dd>{_given(asked.head_probability)}; {asked.neighbour_share:.0%} of the neighbours lie there.</dd>
        </div></dl>"""


def _given(probability: float | None) -> str:
    return "The model does not know it" if probability is None else f"The model gives it {probability:.0%}"


def _tile(api: Client, near: Evidence, asked: Suggestion) -> Tile:
    photo = api.photo_address(near.photo_url, PHOTO_PIXELS)
    facts = (near.category, f"Similarity {near.similarity:.2f}")
    key = f"{'agrees' if near.category == asked.suggested_category else 'differs'}-{near.photo_id}"
    return Tile(key, near.listing_id, photo, near.title, facts)

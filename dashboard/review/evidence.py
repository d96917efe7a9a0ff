"""The evidence for and against a suggested category."""

import html
from collections.abc import Iterable

import streamlit as st

from dashboard.widgets.tiles import PHOTO_PIXELS, Tile, draw_tiles, price_in_words
from search_api.client import Client
from search_api.schemas import Evidence, Suggestion

LARGE_PIXELS = 800
# A certainty is the share of such suggestions that a moderator accepts, see docs/insights.md.
CERTAINTIES = [(0.75, "Very likely wrong"), (0.5, "Probably wrong"), (0.25, "Possibly wrong"), (0.0, "Rather right")]


def certainty_in_words(certainty: float) -> str:
    """Return a phrase for a certainty between 0 and 1."""
    return next(words for least, words in CERTAINTIES if certainty >= least)


def draw_listing_photos(api: Client, suggestion: Suggestion) -> None:
    """Draw the photo that disagrees most, large, and the listing's other photos below it."""
    with st.container(key="large-photo"):
        st.image(api.photo_address(suggestion.photo_urls[0], LARGE_PIXELS), width="stretch", alt=suggestion.title)
    others = suggestion.photo_urls[1:]
    if others:
        with st.container(horizontal=True, key="other-photos", gap="small"):
            for photo in others:
                st.image(api.photo_address(photo, PHOTO_PIXELS), width=96, alt="Another photo of the listing")


def draw_categories(suggestion: Suggestion) -> None:
    """Draw the listing's texts, and both categories with the votes of the model and the neighbours."""
    st.html(_categories_html(suggestion))
    with st.container(key="title-asked"):
        st.text(suggestion.title)
    place = " · ".join(
        fact for fact in (price_in_words(suggestion.price, suggestion.currency), suggestion.location) if fact
    )
    st.text(place)
    st.text(f"Listing {suggestion.listing_id}")


def draw_neighbours(api: Client, suggestion: Suggestion) -> None:
    """Draw the other listings' photos that look most like it."""
    st.subheader("Similar photos")
    st.text(f"Photos in {suggestion.suggested_category} come first and have a frame.")
    draw_tiles((_tile(api, neighbour, suggestion) for neighbour in suggestion.neighbours), min_pixels=120)


def preload(api: Client, upcoming: Iterable[Suggestion]) -> None:
    """Let the browser load the photos of the next suggestions while the analyst decides this one."""
    photos = [api.photo_address(suggestion.photo_urls[0], LARGE_PIXELS) for suggestion in upcoming]
    neighbours = [neighbour for suggestion in upcoming for neighbour in suggestion.neighbours]
    photos += [api.photo_address(neighbour.photo_url, PHOTO_PIXELS) for neighbour in neighbours]
    if photos:
        images = "".join(f'<img src="{html.escape(photo)}" alt="">' for photo in photos)
        st.html(f'<div hidden aria-hidden="true">{images}</div>')


def _categories_html(suggestion: Suggestion) -> str:
    """Return both categories as HTML. Sellers' texts are escaped."""
    return f"""<div class="certainty"><strong>{certainty_in_words(suggestion.certainty)}</strong>
        <span>{suggestion.certainty:.0%} likely to be accepted</span></div>
        <dl class="versus">
        <div><dt>Seller's category</dt><dd>{html.escape(suggestion.category)}</dd></div>
        <div class="suggested"><dt>Suggested</dt><dd>{html.escape(suggestion.suggested_category)}</dd></div></dl>
        <table class="voices"><thead><tr><th scope="col">According to</th><th scope="col">Seller's</th>
        <th scope="col">Suggested</th></tr></thead><tbody>{"".join(_voice_html(*row) for row in _voices(suggestion))}
        </tbody></table>
        {"".join(f"<p>{html.escape(sentence)}</p>" for sentence in _word_sentences(suggestion))}"""


def _voices(suggestion: Suggestion) -> list[tuple[str, float | None, float | None]]:
    return [
        ("its title", suggestion.title_seller_probability, suggestion.title_probability),
        ("its photos", suggestion.seller_probability, suggestion.head_probability),
        ("similar listings", suggestion.neighbour_seller_share, suggestion.neighbour_share),
    ]


def _voice_html(name: str, seller: float | None, suggested: float | None) -> str:
    cells = "".join(f"<td>{'not asked' if share is None else f'{share:.0%}'}</td>" for share in (seller, suggested))
    return f'<tr><th scope="row">{name}</th>{cells}</tr>'


def _word_sentences(suggestion: Suggestion) -> list[str]:
    """Return a sentence for each word of the title that speaks for the suggested category."""
    return [
        f"Of {word.listings:,} other listings with “{word.word}” in the title, {word.suggested:.0%} are in "
        f"{suggestion.suggested_category} and {word.seller:.0%} in {suggestion.category}."
        for word in suggestion.title_words
    ]


def _tile(api: Client, neighbour: Evidence, suggestion: Suggestion) -> Tile:
    photo = api.photo_address(neighbour.photo_url, PHOTO_PIXELS)
    facts = (neighbour.category, f"Similarity {neighbour.similarity:.2f}")
    key = f"{'agrees' if neighbour.category == suggestion.suggested_category else 'differs'}-{neighbour.photo_id}"
    return Tile(key, neighbour.listing_id, photo, neighbour.title, facts)

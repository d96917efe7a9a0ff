"""The grid of tiles: each is a photo with facts about its listing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import streamlit as st

from search_api.schemas import ListingFields

PHOTO_PIXELS = 400
SYMBOLS = {"GBP": "£", "EUR": "€", "USD": "$"}


@dataclass(frozen=True)
class Tile:
    """One tile. `key` is unique in its grid."""

    key: str
    listing_id: str
    photo: str
    title: str
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Action:
    """A button of each tile: its label, and the function that is called with the tile."""

    name: str
    label: str
    act: Callable[[Tile], None]


def listing_facts(listing: ListingFields) -> tuple[str, ...]:
    """Return price, category and location, without missing ones."""
    facts = (price_in_words(listing.price, listing.currency), listing.category, listing.location)
    return tuple(fact for fact in facts if fact)


def price_in_words(price: float | None, currency: str) -> str:
    """Return a price as people write it: `£1,150.00`."""
    if price is None:
        return "price unknown"
    symbol = SYMBOLS.get(currency)
    return f"{symbol}{price:,.2f}" if symbol else f"{price:,.2f} {currency}".rstrip()


def draw_tiles(tiles: Iterable[Tile], actions: Sequence[Action] = (), min_pixels: int = 165) -> None:
    """Draw a grid of tiles, each with its actions below it."""
    grid = st.grid(columns=6, min_column_width=min_pixels)
    for tile in tiles:
        with grid.container(key=f"tile-{tile.key}", height="stretch", gap="xsmall"):
            _draw_tile(tile, actions)


def _draw_tile(tile: Tile, actions: Sequence[Action]) -> None:
    st.image(tile.photo, width="stretch", alt=tile.title)
    # Draw sellers' texts with st.text everywhere: it does not interpret Markdown, HTML or LaTeX.
    with st.container(key=f"title-{tile.key}"):
        st.text(tile.title)
    with st.container(key=f"facts-{tile.key}", gap=None):
        for fact in tile.facts:
            st.text(fact, wrap=False)
    with st.container(key=f"actions-{tile.key}", horizontal=True, gap="xsmall"):
        for action in actions:
            st.button(action.label, key=f"{action.name}-{tile.key}", on_click=action.act, args=(tile,), type="tertiary")

"""A group of duplicates: its listings side by side, with their differences."""

import html
from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from dashboard.widgets.tiles import PHOTO_PIXELS, price_in_words
from search_api.client import Client
from search_api.schemas import DuplicateGroup, DuplicateKind, DuplicateListing

MAX_PHOTOS = 4
MAX_COLUMNS = 4


@dataclass(frozen=True)
class Kind:
    """A kind of duplicate in plain words."""

    name: str
    explanation: str


KINDS: dict[DuplicateKind, Kind] = {
    "same_bytes": Kind("Same file", "the photos are the same file, byte for byte."),
    "same_photo": Kind("Same picture", "one picture, but scaled, cropped, edited or saved again."),
    "same_item": Kind("Same thing", "different pictures that show the same thing, according to the model."),
}


def draw_group(api: Client, group: DuplicateGroup, draw_decisions: Callable[[], None]) -> None:
    """Draw the kind of a group, the decisions, the differences and the listings."""
    with st.container(border=True, key=f"group-{group.rank}"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(kind_in_words(group), anchor=False, width="stretch")
            draw_decisions()
        st.html(_differences_html(group))
        grid = st.grid(columns=min(len(group.listings), MAX_COLUMNS), min_column_width=140)
        for listing in group.listings:
            with grid.container(key=f"listing-{group.rank}-{listing.listing_id}", gap="xsmall"):
                _draw_listing(api, listing, group)


def kind_in_words(group: DuplicateGroup) -> str:
    """Return the kind, the number of listings, and the probability if it is known."""
    name = f"{KINDS[group.kind].name}, {len(group.listings)} listings"
    return name if group.probability is None else f"{name}, {group.probability:.0%} sure"


def differences(group: DuplicateGroup) -> list[tuple[bool, str]]:
    """Return for price, place and category whether they differ, and a text."""
    return [
        _compare_prices(group),
        (not group.same_place, "Same place" if group.same_place else "Different places"),
        (not group.same_category, "Same category" if group.same_category else "Different categories"),
    ]


def _compare_prices(group: DuplicateGroup) -> tuple[bool, str]:
    prices = {(listing.price, listing.currency) for listing in group.listings if listing.price is not None}
    unknown = sum(listing.price is None for listing in group.listings)
    if not prices:
        return False, "No price is known"
    if len({currency for _, currency in prices}) > 1:
        return True, "Prices in different currencies"
    low, high = min(prices), max(prices)
    if low != high:
        more = f", {high[0] / low[0] - 1:+.0%}" if low[0] else ""
        return True, f"Prices differ: {price_in_words(*low)} to {price_in_words(*high)}{more}"
    if unknown:
        return True, f"{price_in_words(*low)}, or no price"
    return False, f"Same price: {price_in_words(*low)}"


def _differences_html(group: DuplicateGroup) -> str:
    marks = (
        f'<span class="{"differs" if differs else "same"}">{html.escape(words)}</span>'
        for differs, words in differences(group)
    )
    return f'<div class="differences">{"".join(marks)}</div>'


def _draw_listing(api: Client, listing: DuplicateListing, group: DuplicateGroup) -> None:
    # Two columns even for one photo, so that all photos have the same size.
    with st.grid(columns=2, min_column_width=110, gap="xsmall", key=f"photos-{group.rank}-{listing.listing_id}"):
        for photo in listing.photos[:MAX_PHOTOS]:
            st.image(api.photo_address(photo.photo_url, PHOTO_PIXELS), width="stretch", alt=listing.title)
    with st.container(key=f"title-{group.rank}-{listing.listing_id}"):
        st.text(listing.title)
    st.html(_facts_html(listing, group))


def _facts_html(listing: DuplicateListing, group: DuplicateGroup) -> str:
    """Return price, place and category, with differences marked. Sellers' texts are escaped."""
    facts = [
        (_compare_prices(group)[0], price_in_words(listing.price, listing.currency)),
        (not group.same_place, listing.location or "place unknown"),
        (not group.same_category, listing.category or "no category"),
    ]
    lines = (f'<li class="{"differs" if differs else "same"}">{html.escape(words)}</li>' for differs, words in facts)
    return f'<ul class="listing-facts">{"".join(lines)}<li>{html.escape(listing.listing_id)}</li></ul>'

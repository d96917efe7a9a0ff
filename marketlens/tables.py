"""Hits and figures as tables for the terminal."""

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from catalog.listing import Hit, Listing

if TYPE_CHECKING:
    from embedding.card import ModelCard


def hits_table(title: str, hits: list[Hit]) -> Table:
    """One row per listing, nearest first."""
    table = Table(title=Text(title))
    table.add_column("score", justify="right")
    table.add_column("title")
    table.add_column("category")
    table.add_column("price", justify="right")
    table.add_column("location")
    table.add_column("listing", overflow="fold")
    for hit in hits:
        listing = hit.listing
        cells = (listing.title, listing.category, price_text(listing), listing.location, listing.listing_id)
        # Text, not str: a seller's [square brackets] are no markup.
        table.add_row(f"{hit.score:.3f}", *(Text(cell) for cell in cells))
    return table


def figures_table(card: "ModelCard") -> Table:
    """A model's figures on what was held out, with their intervals."""
    from embedding.card_text import LABELS

    table = Table(title=f"{card.name} on the test split")
    for heading in ("", "mean", "95 % interval", "queries"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, label in LABELS.items():
        if one := card.metrics.get(name):
            table.add_row(label, f"{one.mean:.3f}", f"{one.low:.3f} to {one.high:.3f}", f"{one.queries:,}")
    return table


def price_text(listing: Listing) -> str:
    """`1,150.00 GBP`, or `unknown`."""
    return "unknown" if listing.price is None else f"{listing.price:,.2f} {listing.currency}".strip()

"""Tables for the terminal: hits, runs, metrics, insights."""

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from catalog.listing import Hit, Listing

if TYPE_CHECKING:
    from catalog.runs.report import Report
    from embedding.card import ModelCard
    from insights.summary import Summary


def hits_table(title: str, hits: list[Hit]) -> Table:
    """Return a table with one row per listing, nearest first."""
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
        # Text, not str: a seller's [square brackets] must not be read as markup.
        table.add_row(f"{hit.score:.3f}", *(Text(cell) for cell in cells))
    return table


def runs_table(runs: list["Report"]) -> Table:
    """Return a table with one row per run in the ledger."""
    table = Table(title="Ingest runs")
    table.add_column("run", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("rows", overflow="fold")
    for heading in ("photos", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in runs:
        verdicts = ("embedded", "updated", "unchanged", "rejected", "removed")
        rows = [f"{count:,} {name}" for name in verdicts if (count := getattr(run, name))]
        photos = "" if run.photos is None else f"{run.photos:,}"
        counts = Text(f"{', '.join(rows) or 'none'}\nof {run.export}")
        table.add_row(run.run_id, run.state, counts, photos, f"{run.seconds:.0f}")
    table.caption = "photos: number of photos in the collection when the run finished"
    return table


def figures_table(card: "ModelCard") -> Table:
    """Return a table of a model's metrics on the test split, with their intervals."""
    from embedding.card_text import LABELS

    table = Table(title=f"{card.name} on the test split")
    for heading in ("", "mean", "95 % interval", "queries"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, label in LABELS.items():
        if metric := card.metrics.get(name):
            interval = f"{metric.low:.3f} to {metric.high:.3f}"
            table.add_row(label, f"{metric.mean:.3f}", interval, f"{metric.queries:,}")
    return table


def insights_table(summary: "Summary") -> Table:
    """Return a table of the findings of `marketlens insights` and the time of each stage."""
    table = Table(title=Text(f"{summary.photos:,} photos of {summary.listings:,} listings in {summary.collection}"))
    table.add_column("")
    table.add_column("found", justify="right")
    table.add_row("suspected wrong categories", f"{summary.suggestions:,}")
    for kind, same in (("same_bytes", "file"), ("same_photo", "picture, edited"), ("same_item", "item")):
        table.add_row(f"groups of listings with the same {same}", f"{summary.duplicates[kind]:,}")
    table.add_row("photos on the map", f"{summary.mapped_photos:,}")
    table.add_row("clusters on the map", f"{len(summary.clusters):,}")
    if summary.unreadable_photos:
        table.add_row("photos that could not be read, not compared by pixels", f"{summary.unreadable_photos:,}")
    if summary.too_large_groups:
        table.add_row("pictures in more than 200 listings, ignored as placeholders", f"{summary.too_large_groups:,}")
    if summary.trained_on:
        table.add_row("photos that the model was trained on", f"{summary.trained_on:,}")
    table.add_section()
    for stage, seconds in summary.seconds.items():
        table.add_row(f"time: {stage}", f"{seconds:,.1f} s")
    table.add_row("peak memory", f"{summary.peak_bytes / 1e9:.1f} GB")
    return table


def price_text(listing: Listing) -> str:
    """Return the price as `1,150.00 GBP`, or `unknown`."""
    return "unknown" if listing.price is None else f"{listing.price:,.2f} {listing.currency}".strip()

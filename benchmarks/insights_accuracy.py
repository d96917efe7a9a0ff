"""What `marketlens insights` finds of what was done on purpose: listings moved, photos edited and posted again.

    .venv/bin/python -m benchmarks.insights_accuracy EXPORT [--model models/marketlens-resnet50]
        [--listings 2400] [--draws 40] [--edited 300]

Listings: some, as 100 in 2,400, are moved to another category at random, again and again; then suggestions are asked
for as ever, by both voices and by each alone. Sellers' own mistakes count as false: precision is a lower bound.
Listings that the model was trained on are left out, unless it was trained on all.

Photos: each is edited, saved again, and compared with itself, as `insights` compares the photos of two listings.
"""

import argparse
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from rich.console import Console
from rich.progress import track
from sklearn.metrics import average_precision_score

from benchmarks.report.results import Cell, Table, figure, publish
from catalog.exports.export import open_export
from catalog.listing import Embeddings, Photo
from catalog.photo_files.files import read_photo
from catalog.progress import silent
from catalog.settings import shipped_model
from embedding.checkpoint import listing_hash, trained_listing_hashes
from embedding.embedder import Embedder
from embedding.photos import open_photo
from insights import suggestions
from insights.duplicates import edited_photos, links
from insights.map_layout import even_sample
from insights.neighbours.graph import Graph, neighbour_graph
from insights.snapshot import first_rows

MOVED = 100 / 2_400
BOTH, HEAD, NEAR = "both voices", "category head alone", "neighbours alone"
CERTAINTIES = (0.95, 0.9, suggestions.MIN_CERTAINTY, 0.8)
_MAX_BYTES = 100_000_000
progress = Console(stderr=True)

Edit = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Stock:
    """Photos in order of listing: unit vectors (n, dim); `listing` and `category` (n,) by number."""

    vectors: Embeddings
    listing: NDArray[np.int32]
    category: NDArray[np.int32]
    categories: list[str]
    note: str


def main() -> None:
    """Both tables, and that of certainties."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export")
    parser.add_argument("--model", type=Path, default=shipped_model())
    parser.add_argument("--listings", type=int, default=2_400, help="at most so many of the export")
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--edited", type=int, default=300, help="photos")
    arguments = parser.parse_args()
    embedder = Embedder.load(arguments.model)
    photos = [row for row in open_export(arguments.export).rows() if isinstance(row, Photo)]
    moved(stock(photos, embedder, arguments.model, arguments.listings), embedder, arguments.draws)
    edited(photos[:: max(1, len(photos) // arguments.edited)][: arguments.edited], embedder)


def image_of(photo: Photo) -> Image.Image:
    """As ingest opens it."""
    return open_photo(read_photo(photo.uri, _MAX_BYTES))


def stock(photos: list[Photo], embedder: Embedder, model: Path, most: int) -> Stock:
    """Embed the photos of some listings: those that the model does not know, if there are any."""
    known, ids = trained_listing_hashes(model), list(dict.fromkeys(photo.listing.listing_id for photo in photos))
    strangers = [one for one in ids if listing_hash(one) not in known]
    chosen = {(strangers or ids)[place] for place in even_sample(len(strangers or ids), most)}
    rows = sorted((one for one in photos if one.listing.listing_id in chosen), key=lambda one: one.listing.listing_id)
    starts = range(0, len(rows), embedder.batch)
    parts = [
        embedder.embed([image_of(one) for one in rows[start : start + embedder.batch]])
        for start in track(starts, "Embedding", console=progress)
    ]
    names, category = np.unique([one.listing.category for one in rows], return_inverse=True)
    _, listing = np.unique([one.listing.listing_id for one in rows], return_inverse=True)
    of = "that the model was not trained on" if strangers else "all of which the model was trained on"
    note = f"{len(chosen):,} listings, {len(rows):,} photos, {of}."
    return Stock(np.concatenate(parts), listing.astype(np.int32), category.astype(np.int32), names.tolist(), note)


def moved(shop: Stock, embedder: Embedder, draws: int) -> None:
    """Move listings, and look how many are suspected."""
    true = shop.category[first_rows(shop.listing)]
    count = max(1, round(MOVED * len(true)))
    ranked: dict[str, list[tuple[float, ...]]] = {}
    listed: dict[str, list[tuple[float, ...]]] = {}
    suggestions.MIN_CERTAINTY = 0.0  # a rank for every listing
    for draw in track(range(draws), "Moving listings", console=progress):
        random = np.random.default_rng(draw)
        own, wrong = true.copy(), random.choice(len(true), count, replace=False)
        own[wrong] = (own[wrong] + random.integers(1, len(shop.categories), count)) % len(shop.categories)
        for name, suspects in by_voice(shop, own[shop.listing], embedder).items():
            listings, suggested, certainty = (np.array(column) for column in zip(*suspects, strict=True))
            is_moved = np.isin(listings, wrong)
            right = suggested == true[listings]
            ranked.setdefault(name, []).append(ranks(is_moved, certainty, count))
            for least in CERTAINTIES if name == BOTH else ():
                listed.setdefault(f"{least:.2f}", []).append(shares(is_moved, right, certainty >= least, count))
    columns = ("ranked by", "average precision", f"of the first {max(1, count // 3)}, moved")
    columns += (f"of the first {count}, moved", f"moved found in the first {2 * count}")
    note = f"{shop.note} {count} moved, {draws} draws."
    publish(Table("Listings moved to a wrong category", columns, rows_of(ranked), note))
    columns = ("certainty at least", "moved listings found", "of those listed, moved", "right category suggested")
    columns += ("of the others, listed",)
    publish(Table("Listings moved, by certainty", columns, rows_of(listed), note))


def by_voice(shop: Stock, category: NDArray[np.int32], embedder: Embedder) -> dict[str, list[tuple[int, int, float]]]:
    """Every listing, the most suspicious first, with the category suggested and the certainty: by each voice."""
    order = np.argsort(category, kind="stable")
    vectors, category, listing = np.ascontiguousarray(shop.vectors[order]), category[order], shop.listing[order]
    graph = neighbour_graph(vectors, category, listing, silent)
    nobody = Graph(np.full_like(graph.rows, -1), np.full_like(graph.cosines, -1), graph.own)
    voices = {BOTH: (graph, embedder.classify), HEAD: (nobody, embedder.classify), NEAR: (graph, lambda _: None)}
    names = embedder.card.categories
    found = {}
    for name, (near, classify) in voices.items():
        suspects = suggestions.suggestions(vectors, category, listing, near, shop.categories, classify, names)
        found[name] = [(int(listing[one.listing_row]), one.suggested, one.certainty) for one in suspects]
    return found


def ranks(is_moved: NDArray[np.bool_], certainty: NDArray[np.float64], count: int) -> tuple[float, ...]:
    """How high the moved listings stand in the list."""
    return (
        float(average_precision_score(is_moved, certainty)),
        float(is_moved[: max(1, count // 3)].mean()),
        float(is_moved[:count].mean()),
        float(is_moved[: 2 * count].sum() / count),
    )


def shares(
    is_moved: NDArray[np.bool_], right: NDArray[np.bool_], listed: NDArray[np.bool_], count: int
) -> tuple[float, ...]:
    """What a list that ends at some certainty has in it."""
    hits = int((listed & is_moved).sum())
    return (
        hits / count,
        hits / max(1, int(listed.sum())),
        float((listed & is_moved & right).sum()) / max(1, hits),
        float((listed & ~is_moved).sum()) / (len(is_moved) - count),
    )


def rows_of(found: dict[str, list[tuple[float, ...]]]) -> list[list[Cell]]:
    """The draws of each quantity, a row for each name."""
    return [[name, *(figure(one) for one in zip(*many, strict=True))] for name, many in found.items()]


def edited(photos: list[Photo], embedder: Embedder) -> None:
    """Edit photos, and look whether both conditions of `same_photo` hold."""
    images = [image_of(photo) for photo in photos]
    vectors, looks = embedder.embed(images), [edited_photos.small(image) for image in images]
    rows: list[list[Cell]] = []
    for name, edit in track(EDITS.items(), "Editing", console=progress):
        again = [edit(image) for image in images]
        cosines = (vectors * embedder.embed(again)).sum(axis=1)
        like = np.array(
            [edited_photos.likeness(one, edited_photos.small(two)) for one, two in zip(looks, again, strict=True)]
        )
        both = (cosines >= links.SAME_PHOTO_COSINE) & (like >= edited_photos.SAME_PHOTO)
        rows.append([name, *(f"{np.percentile(one, part):.2f}" for one in (cosines, like) for part in (50, 1))])
        rows[-1].append(f"{both.mean():.0%}")
    columns = ("edit", "cosine, median", "worst 1 %", "correlation, median", "worst 1 %", "found as the same photo")
    publish(Table("Photos edited and posted again", columns, rows, f"{len(photos):,} photos."))


def saved(image: Image.Image, quality: int = 90) -> Image.Image:
    """As a JPEG that was posted."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return open_photo(buffer.getvalue())


def cut(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """Shares of the width and height cut off."""
    width, height = image.size
    kept = left * width, top * height, (1 - right) * width, (1 - bottom) * height
    return saved(image.crop(tuple(map(int, kept))))


EDITS: dict[str, Edit] = {
    "saved again, quality 60": lambda image: saved(image, 60),
    "saved again, quality 30": lambda image: saved(image, 30),
    "scaled to 60 %": lambda image: saved(ImageOps.scale(image, 0.6)),
    "5 % of each axis cropped, around": lambda image: cut(image, 0.025, 0.025, 0.025, 0.025),
    "5 % of each axis cropped, at one corner": lambda image: cut(image, 0.05, 0.05, 0, 0),
    "10 % of each axis cropped, around": lambda image: cut(image, 0.05, 0.05, 0.05, 0.05),
    "6 to 13 % cropped, unevenly": lambda image: cut(image, 0.09, 0.02, 0.04, 0.06),
    "mirrored, 5 % cropped": lambda image: cut(ImageOps.mirror(image), 0.025, 0.025, 0.025, 0.025),
    "darker by 30 %": lambda image: saved(ImageEnhance.Brightness(image).enhance(0.7)),
    "brighter by 30 %": lambda image: saved(ImageEnhance.Brightness(image).enhance(1.3)),
    "turned by 5 degrees": lambda image: saved(image.rotate(5, Image.Resampling.BICUBIC)),
    "a border of 8 %": lambda image: saved(ImageOps.expand(image, round(0.08 * image.width), "white")),
}


if __name__ == "__main__":
    main()

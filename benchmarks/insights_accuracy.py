"""Share of known problems that `marketlens insights` finds: listings in a wrong category, edited and reposted photos.

    .venv/bin/python -m benchmarks.insights_accuracy EXPORT [--model models/marketlens-resnet50]
        [--listings 2400] [--draws 40] [--edited 300]

Listings: in each draw a random share, 100 of 2,400, is moved to another category; then the usual suggestions are
computed, by all voices and by fewer. Sellers' own mistakes count as false positives, so precision is a lower
bound. Listings that the model was trained on are excluded, unless it was trained on all.

Photos: each photo is edited, saved again and compared with the original, as `insights` compares photos of two listings.
"""

import argparse
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
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
from insights.neighbours.graph import neighbour_graph
from insights.snapshot import Snapshot, first_rows

MOVED = 100 / 2_400
ALL, PHOTOS, NEAR = "title, photos and neighbours", "photos and neighbours", "neighbours alone"
CERTAINTIES = (0.8, 0.5, 0.25, suggestions.MIN_CERTAINTY)
_MAX_BYTES = 100_000_000
progress = Console(stderr=True)

Edit = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Sample:
    """Photos in order of listing: unit vectors (n, dim); `listing` and `category` (n,) are numbers."""

    vectors: Embeddings
    listing: NDArray[np.int32]
    category: NDArray[np.int32]
    titles: list[str]
    categories: list[str]
    note: str


def main() -> None:
    """Publish the tables of moved listings and of edited photos."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export")
    parser.add_argument("--model", type=Path, default=shipped_model())
    parser.add_argument("--listings", type=int, default=2_400, help="maximum number of listings from the export")
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--edited", type=int, default=300, help="photos to edit")
    arguments = parser.parse_args()
    embedder = Embedder.load(arguments.model)
    photos = [row for row in open_export(arguments.export).rows() if isinstance(row, Photo)]
    measure_moved(embed_sample(photos, embedder, arguments.model, arguments.listings), embedder, arguments.draws)
    measure_edited(photos[:: max(1, len(photos) // arguments.edited)][: arguments.edited], embedder)


def image_of(photo: Photo) -> Image.Image:
    """Open a photo as ingest does."""
    return open_photo(read_photo(photo.uri, _MAX_BYTES))


def embed_sample(photos: list[Photo], embedder: Embedder, model: Path, limit: int) -> Sample:
    """Embed the photos of a sample of listings, preferably of listings that the model was not trained on."""
    trained, ids = trained_listing_hashes(model), list(dict.fromkeys(photo.listing.listing_id for photo in photos))
    unseen = [listing_id for listing_id in ids if listing_hash(listing_id) not in trained]
    chosen = {(unseen or ids)[row] for row in even_sample(len(unseen or ids), limit)}
    rows = sorted(
        (photo for photo in photos if photo.listing.listing_id in chosen), key=lambda photo: photo.listing.listing_id
    )
    starts = range(0, len(rows), embedder.batch)
    parts = [
        embedder.embed([image_of(photo) for photo in rows[start : start + embedder.batch]])
        for start in track(starts, "Embedding", console=progress)
    ]
    names, category = np.unique([photo.listing.category for photo in rows], return_inverse=True)
    _, listing = np.unique([photo.listing.listing_id for photo in rows], return_inverse=True)
    origin = "that the model was not trained on" if unseen else "all of which the model was trained on"
    note = f"{len(chosen):,} listings, {len(rows):,} photos, {origin}."
    titles = [photo.listing.title for photo in rows]
    numbers = (listing.astype(np.int32), category.astype(np.int32))
    return Sample(np.concatenate(parts), *numbers, titles, names.tolist(), note)


def measure_moved(sample: Sample, embedder: Embedder, draws: int) -> None:
    """Move listings to wrong categories, and measure how many are suspected."""
    true = sample.category[first_rows(sample.listing)]
    count = max(1, round(MOVED * len(true)))
    ranked: dict[str, list[tuple[float, ...]]] = {}
    listed: dict[str, list[tuple[float, ...]]] = {}
    suggestions.MIN_CERTAINTY = 0.0  # rank every listing
    for draw in track(range(draws), "Moving listings", console=progress):
        random = np.random.default_rng(draw)
        assigned, wrong = true.copy(), random.choice(len(true), count, replace=False)
        assigned[wrong] = (assigned[wrong] + random.integers(1, len(sample.categories), count)) % len(sample.categories)
        for name, suspects in suspects_by_voices(sample, assigned[sample.listing], embedder).items():
            listings, suggested, certainty = (np.array(column) for column in zip(*suspects, strict=True))
            is_moved = np.isin(listings, wrong)
            right = suggested == true[listings]
            ranked.setdefault(name, []).append(ranks(is_moved, certainty, count))
            for threshold in CERTAINTIES if name == ALL else ():
                listed.setdefault(f"{threshold:.2f}", []).append(shares(is_moved, right, certainty >= threshold, count))
    columns = ("ranked by", "average precision", f"of the first {max(1, count // 3)}, moved")
    columns += (f"of the first {count}, moved", f"moved found in the first {2 * count}")
    note = f"{sample.note} {count} moved, {draws} draws."
    publish(Table("Listings moved to a wrong category", columns, rows_of(ranked), note))
    columns = ("certainty at least", "moved listings found", "of those listed, moved", "right category suggested")
    columns += ("of the others, listed",)
    publish(Table("Listings moved, by certainty", columns, rows_of(listed), note))


def suspects_by_voices(
    sample: Sample, category: NDArray[np.int32], embedder: Embedder
) -> dict[str, list[tuple[int, int, float]]]:
    """Return for each set of voices every listing, most suspicious first, the suggested category and the certainty."""
    order = np.argsort(category, kind="stable")
    vectors, category, listing = np.ascontiguousarray(sample.vectors[order]), category[order], sample.listing[order]
    graph = neighbour_graph(vectors, category, listing, silent)
    titles = [sample.titles[row] for row in order]
    plain = SimpleNamespace(classify=embedder.classify, card=embedder.card, words=None)
    deaf = SimpleNamespace(classify=lambda _: None, card=SimpleNamespace(categories=[]), words=None)
    by_voices = {}
    for name, model, texts in (
        (ALL, embedder, titles),
        (PHOTOS, plain, [""] * len(titles)),
        (NEAR, deaf, [""] * len(titles)),
    ):
        table = pa.table({"listing_id": [str(number) for number in listing], "title": texts})
        snapshot = Snapshot(table, vectors, sample.categories, category, listing)
        unknown = np.zeros(len(listing), bool)
        suspects = suggestions.suggestions(snapshot, graph, model, unknown, (), {}, silent)
        by_voices[name] = [
            (int(listing[suspect.listing_row]), suspect.suggested, suspect.certainty) for suspect in suspects
        ]
    return by_voices


def ranks(is_moved: NDArray[np.bool_], certainty: NDArray[np.float64], count: int) -> tuple[float, ...]:
    """Return average precision, and the share of moved listings at the top of the list."""
    return (
        float(average_precision_score(is_moved, certainty)),
        float(is_moved[: max(1, count // 3)].mean()),
        float(is_moved[:count].mean()),
        float(is_moved[: 2 * count].sum() / count),
    )


def shares(
    is_moved: NDArray[np.bool_], right: NDArray[np.bool_], listed: NDArray[np.bool_], count: int
) -> tuple[float, ...]:
    """Return the shares of moved and unmoved listings in a list that ends at some certainty."""
    hits = int((listed & is_moved).sum())
    return (
        hits / count,
        hits / max(1, int(listed.sum())),
        float((listed & is_moved & right).sum()) / max(1, hits),
        float((listed & ~is_moved).sum()) / (len(is_moved) - count),
    )


def rows_of(draws_by_name: dict[str, list[tuple[float, ...]]]) -> list[list[Cell]]:
    """Build a row for each name, with a figure of all draws for each quantity."""
    return [[name, *(figure(values) for values in zip(*draws, strict=True))] for name, draws in draws_by_name.items()]


def measure_edited(photos: list[Photo], embedder: Embedder) -> None:
    """Edit photos, and measure how often both conditions of `same_photo` hold."""
    images = [image_of(photo) for photo in photos]
    vectors, thumbnails = embedder.embed(images), [edited_photos.thumbnail(image) for image in images]
    rows: list[list[Cell]] = []
    for name, edit in track(EDITS.items(), "Editing", console=progress):
        edited = [edit(image) for image in images]
        cosines = (vectors * embedder.embed(edited)).sum(axis=1)
        correlations = np.array(
            [
                edited_photos.pixel_correlation(thumbnail, edited_photos.thumbnail(image))
                for thumbnail, image in zip(thumbnails, edited, strict=True)
            ]
        )
        both = (cosines >= links.SAME_PHOTO_COSINE) & (correlations >= edited_photos.SAME_PHOTO)
        rows.append(
            [name, *(f"{np.percentile(values, part):.2f}" for values in (cosines, correlations) for part in (50, 1))]
        )
        rows[-1].append(f"{both.mean():.0%}")
    columns = ("edit", "cosine, median", "worst 1 %", "correlation, median", "worst 1 %", "found as the same photo")
    publish(Table("Edited and reposted photos", columns, rows, f"{len(photos):,} photos."))


def save(image: Image.Image, quality: int = 90) -> Image.Image:
    """Save an image as a JPEG and open it as ingest does."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return open_photo(buffer.getvalue())


def crop(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """Crop shares of the width and height from each side."""
    width, height = image.size
    box = left * width, top * height, (1 - right) * width, (1 - bottom) * height
    return save(image.crop(tuple(map(int, box))))


EDITS: dict[str, Edit] = {
    "saved again, quality 60": lambda image: save(image, 60),
    "saved again, quality 30": lambda image: save(image, 30),
    "scaled to 60 %": lambda image: save(ImageOps.scale(image, 0.6)),
    "5 % of each axis cropped, around": lambda image: crop(image, 0.025, 0.025, 0.025, 0.025),
    "5 % of each axis cropped, at one corner": lambda image: crop(image, 0.05, 0.05, 0, 0),
    "10 % of each axis cropped, around": lambda image: crop(image, 0.05, 0.05, 0.05, 0.05),
    "6 to 13 % cropped, unevenly": lambda image: crop(image, 0.09, 0.02, 0.04, 0.06),
    "mirrored, 5 % cropped": lambda image: crop(ImageOps.mirror(image), 0.025, 0.025, 0.025, 0.025),
    "darker by 30 %": lambda image: save(ImageEnhance.Brightness(image).enhance(0.7)),
    "brighter by 30 %": lambda image: save(ImageEnhance.Brightness(image).enhance(1.3)),
    "rotated by 5 degrees": lambda image: save(image.rotate(5, Image.Resampling.BICUBIC)),
    "a border of 8 %": lambda image: save(ImageOps.expand(image, round(0.08 * image.width), "white")),
}


if __name__ == "__main__":
    main()

"""Write insights chosen by a test as the files that `marketlens insights` writes."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalog.store.collection import PhotoCollection
from insights.result_files import DUPLICATE_SCHEMA, PHOTO_SCHEMA, SUGGESTION_SCHEMA, save
from insights.summary import CategorySummary, Cluster, RunParameters, Summary

Row = dict[str, Any]


def suggestion(listing_id: str, category: str, suggested: str, near: Sequence[str] = (), **fields: object) -> Row:
    """A suggestion about a listing's first photo."""
    scores = {
        "certainty": 0.9,
        "head_probability": 0.8,
        "seller_probability": 0.1,
        "title_probability": 0.7,
        "title_seller_probability": 0.2,
        "title_words": [{"word": "thing", "suggested": 0.6, "seller": 0.25, "listings": 8}],
        "neighbour_share": 1.0,
        "neighbour_seller_share": 0.0,
    }
    neighbours = [{"photo_id": photo_id, "similarity": 0.75} for photo_id in near]
    listing = {"listing_id": listing_id, "photo_id": f"{listing_id}-0", "category": category}
    return listing | {"suggested_category": suggested, "neighbours": neighbours} | scores | fields


def duplicate(*listing_ids: str, kind: str = "same_photo", probability: float | None = None) -> Row:
    """A group of listings whose first photos show the same thing."""
    photo_ids = [f"{listing_id}-0" for listing_id in listing_ids]
    links = [
        {"photo_id_a": photo_ids[0], "photo_id_b": other, "similarity": 0.5 + number / 100, "kind": kind}
        for number, other in enumerate(photo_ids[1:])
    ]
    listings = list(listing_ids)
    return {"kind": kind, "probability": probability, "links": links, "listing_ids": listings, "photo_ids": photo_ids}


def write_insights(
    folder: Path, photos: PhotoCollection, suggestions: Sequence[Row] = (), duplicates: Sequence[Row] = ()
) -> None:
    """Write insights for the live collection. The first photo of each listing is on the map; ranks start at 1."""
    records = (record for batch in photos.reader.records() for record in batch)
    stored = sorted(records, key=lambda record: (record.photo.listing.category, record.photo.photo_id))
    rows = [
        asdict(record.photo.listing)
        | {
            "photo_id": record.photo.photo_id,
            "sha256": record.sha256,
            "predicted_category": "Home" if number % 3 else None,
            "confidence": 0.123456 if number % 3 else None,
            "outlier_score": None if number == 0 else number / 100,
            "outlier_rank": None if number == 0 else number,
            "trained_on": False,
            "x": -1.0 + number / 100 if record.photo.photo_id.endswith("-0") else None,
            "y": 0.1234567 if record.photo.photo_id.endswith("-0") else None,
        }
        for number, record in enumerate(stored)
    ]
    categories = sorted({row["category"] for row in rows})
    rows_by_category = [[row for row in rows if row["category"] == category] for category in categories]
    info = photos.info(fresh=True)
    square = [[float(a == b) for a in categories] for b in categories]
    summary = Summary(
        files=f"run{datetime.now(UTC):%H%M%S%f}",
        collection=info.name,
        model_fingerprint=info.fingerprint,
        made_at=datetime.now(UTC),
        changed_at=photos.notes.changed_at(),
        photos=len(rows),
        listings=len({row["listing_id"] for row in rows}),
        mapped_photos=sum(row["x"] is not None for row in rows),
        categories=[
            CategorySummary(
                category=category,
                listings=len({row["listing_id"] for row in members}),
                photos=len(members),
                words=["thing"],
                x=0.0,
                y=0.0,
            )
            for category, members in zip(categories, rows_by_category, strict=True)
        ],
        clusters=[Cluster(x=0.5, y=0.5, photos=3, category=categories[0], words=["thing"])],
        overlap=square,
        distances=square,
        predicted_categories=["Home"],
        confusion=[[sum(row["predicted_category"] == "Home" for row in members)] for members in rows_by_category],
        trained_on=0,
        suggestions=len(suggestions),
        duplicates={"same_photo": len(duplicates)},
        too_large_groups=0,
        unreadable_photos=0,
        used=RunParameters(
            neighbours=1,
            outlier_neighbours=1,
            map_photos=1,
            min_certainty=0.5,
            same_photo_likeness=0.9,
            same_photo_cosine=0.8,
            same_item_cosine=None,
            same_item_probability=0.9,
        ),
        seconds={},
        peak_bytes=0,
    )
    ranked = [[row | {"rank": rank} for rank, row in enumerate(part, 1)] for part in (suggestions, duplicates)]
    save(
        folder,
        summary,
        pa.Table.from_pylist(rows, PHOTO_SCHEMA),
        pa.Table.from_pylist(ranked[0], SUGGESTION_SCHEMA),
        pa.Table.from_pylist(ranked[1], DUPLICATE_SCHEMA),
    )

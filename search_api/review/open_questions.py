"""Suspected wrong categories and duplicates, as they are asked about: without what was decided, or is so no longer.

What was suspected is from the last `marketlens insights`; each page is compared with the records as they are now.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeVar

from more_itertools import chunked

from catalog.listing import Listing, StoredPhoto
from catalog.store.collection import PhotoCollection
from catalog.verdicts import DecidedDuplicates, Decision
from search_api.listings.fields import listing_fields
from search_api.review.latest_insights import InsightTables
from search_api.schemas import DuplicateGroup, DuplicateListing, DuplicatePhoto, Evidence, Suggestion

_LOOK_UP = 1_000

PhotoUrl = Callable[[str], str]
Shown = TypeVar("Shown")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Walked(Generic[Shown]):
    """A page. `remaining` counts all that is left to ask, this page included."""

    shown: list[Shown]
    remaining: int
    next_after: int | None


def open_suggestions(
    tables: InsightTables,
    photos: PhotoCollection,
    photo_url: PhotoUrl,
    decided: Mapping[str, Decision],
    *,
    category: str | None,
    suggested: str | None,
    after: int | None,
    limit: int,
    skipped: bool,
) -> Walked[Suggestion]:
    """Listings that are still there, in the category in which they were suspected."""
    rows = [
        row
        for row, key in enumerate(tables.keys)
        if _is_open(decided.get(key), skipped=skipped)
        and category in {None, tables.categories[row]}
        and suggested in {None, tables.suggested[row]}
    ]

    def still(part: list[Row]) -> list[Suggestion | None]:
        now = _stored(photos, [row["photo_id"] for row in part])
        true = [row for row in part if _is_still(row, now.get(row["photo_id"]))]
        listings = tables.insights.listings([row["listing_id"] for row in true])
        own = {name: [str(photo["photo_id"]) for photo in rows] for name, rows in listings.items()}
        near = [one["photo_id"] for row in true for one in row["neighbours"]]
        now |= _stored(photos, {*near, *chain.from_iterable(own.values())} - now.keys())
        said = tables.insights.photos_by_id(near)
        made = {row["rank"]: _suggestion(row, now, own.get(row["listing_id"], []), said, photo_url) for row in true}
        return [made.get(row["rank"]) for row in part]

    return _walk(tables.insights.suggestions, rows, after, limit, still)


def open_duplicates(
    tables: InsightTables,
    photos: PhotoCollection,
    photo_url: PhotoUrl,
    decided: DecidedDuplicates,
    *,
    kind: str | None,
    after: int | None,
    limit: int,
    skipped: bool,
) -> Walked[DuplicateGroup]:
    """Groups of which two listings at least are still there, with those."""
    rows = [
        row
        for row, listings in enumerate(tables.groups)
        if kind in {None, tables.kinds[row]} and _is_open(decided.on(listings), skipped=skipped)
    ]

    def still(part: list[Row]) -> list[DuplicateGroup | None]:
        now = _stored(photos, {photo_id for row in part for photo_id in row["photo_ids"]})
        groups = [_group(row, now, photo_url) for row in part]
        return [
            group if group and _is_open(decided.on(one.listing_id for one in group.listings), skipped=skipped) else None
            for group in groups
        ]

    return _walk(tables.insights.duplicates, rows, after, limit, still)


def _walk(
    table: Any, rows: Sequence[int], after: int | None, limit: int, still: Callable[[list[Row]], list[Shown | None]]
) -> Walked[Shown]:
    """Rows of a table after a rank, until `limit` of them are shown as they are now."""
    ranks = table["rank"].to_numpy()
    ahead = [row for row in rows if after is None or ranks[row] > after]
    looked_at = (
        (row, one)
        for part in chunked(ahead, limit)
        for row, one in zip(part, still(table.take(part).to_pylist()), strict=True)
    )
    shown: list[Shown] = []
    gone = 0
    for number, (row, one) in enumerate(looked_at, 1):
        if one is None:
            gone += 1
        else:
            shown.append(one)
        if len(shown) == limit:
            return Walked(shown, len(rows) - gone, int(ranks[row]) if number < len(ahead) else None)
    return Walked(shown, len(rows) - gone, None)


def _is_open(decision: Decision | None, *, skipped: bool) -> bool:
    return decision is None or (skipped and decision == "skip")


def _is_still(row: Row, stored: StoredPhoto | None) -> bool:
    if stored is None:
        return False
    listing = stored.photo.listing
    return (listing.listing_id, listing.category) == (row["listing_id"], row["category"])


def _stored(photos: PhotoCollection, photo_ids: Iterable[str]) -> dict[str, StoredPhoto]:
    found: dict[str, StoredPhoto] = {}
    for part in chunked(photo_ids, _LOOK_UP):
        found |= photos.reader.stored(part)
    return found


def _suggestion(
    row: Row, now: Mapping[str, StoredPhoto], photo_ids: list[str], said: Mapping[str, Row], photo_url: PhotoUrl
) -> Suggestion:
    listing = now[row["photo_id"]].photo.listing
    others = [one for one in photo_ids if one != row["photo_id"] and _is_of(listing.listing_id, now.get(one))]
    neighbours = [
        Evidence(
            **listing_fields(stored.photo.listing),
            photo_id=one["photo_id"],
            photo_url=photo_url(one["photo_id"]),
            predicted_category=said.get(one["photo_id"], {}).get("predicted_category"),
            confidence=said.get(one["photo_id"], {}).get("confidence"),
            similarity=one["similarity"],
        )
        for one in row["neighbours"]
        if (stored := now.get(one["photo_id"]))
    ]
    return Suggestion(
        **listing_fields(listing),
        rank=row["rank"],
        photo_id=row["photo_id"],
        photo_url=photo_url(row["photo_id"]),
        photo_urls=[photo_url(one) for one in (row["photo_id"], *others)],
        suggested_category=row["suggested_category"],
        certainty=row["certainty"],
        head_probability=row["head_probability"],
        seller_probability=row["seller_probability"],
        neighbour_share=row["neighbour_share"],
        neighbours=neighbours,
    )


def _is_of(listing_id: str, stored: StoredPhoto | None) -> bool:
    return stored is not None and stored.photo.listing.listing_id == listing_id


def _group(row: Row, now: Mapping[str, StoredPhoto], photo_url: PhotoUrl) -> DuplicateGroup | None:
    """The group with what is left of it; None where fewer than two listings are."""
    scores: dict[str, float] = {}
    for link in row["links"]:
        for photo_id in (link["photo_id_a"], link["photo_id_b"]):
            scores[photo_id] = max(scores.get(photo_id, -1.0), link["similarity"])
    photos: dict[str, list[StoredPhoto]] = {listing_id: [] for listing_id in row["listing_ids"]}
    for photo_id in row["photo_ids"]:
        if (stored := now.get(photo_id)) and stored.photo.listing.listing_id in photos:
            photos[stored.photo.listing.listing_id].append(stored)
    left = [
        DuplicateListing(
            **listing_fields(stored[0].photo.listing),
            photos=[
                DuplicatePhoto(photo_id=photo_id, photo_url=photo_url(photo_id), score=scores.get(photo_id, 0.0))
                for photo_id in (one.photo.photo_id for one in stored)
            ],
        )
        for stored in photos.values()
        if stored
    ]
    if len(left) < 2:
        return None
    low, high = _prices([stored[0].photo.listing for stored in photos.values() if stored])
    return DuplicateGroup(
        rank=row["rank"],
        kind=row["kind"],
        probability=row["probability"],
        listings=left,
        price_low=low,
        price_high=high,
        same_place=len({one.location for one in left}) == 1,
        same_category=len({one.category for one in left}) == 1,
    )


def _prices(listings: Sequence[Listing]) -> tuple[float | None, float | None]:
    """Least and greatest price; None where there is none, or in several currencies."""
    priced = [(one.price, one.currency) for one in listings if one.price is not None]
    if len({currency for _, currency in priced}) != 1:
        return None, None
    return min(price for price, _ in priced), max(price for price, _ in priced)

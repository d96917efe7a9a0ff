"""Open questions: suspected wrong categories and duplicates that are neither decided nor outdated.

The suspicions come from the last run of `marketlens insights`; each page is compared with the current records.
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

_BATCH_SIZE = 1_000

PhotoUrl = Callable[[str], str]
Item = TypeVar("Item")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class QuestionPage(Generic[Item]):
    """A page of open questions. `remaining` counts all open ones, including this page."""

    items: list[Item]
    remaining: int
    next_after: int | None


def open_suggestions(
    tables: InsightTables,
    photos: PhotoCollection,
    photo_url: PhotoUrl,
    decisions: Mapping[str, Decision],
    *,
    category: str | None,
    suggested: str | None,
    after: int | None,
    limit: int,
    skipped: bool,
) -> QuestionPage[Suggestion]:
    """Return suggestions for listings that still exist, with the category that was suspected."""
    rows = [
        row
        for row, key in enumerate(tables.keys)
        if _is_open(decisions.get(key), skipped=skipped)
        and category in {None, tables.categories[row]}
        and suggested in {None, tables.suggested[row]}
    ]

    def current(batch: list[Row]) -> list[Suggestion | None]:
        stored = _stored(photos, [row["photo_id"] for row in batch])
        valid = [row for row in batch if _is_current(row, stored.get(row["photo_id"]))]
        listings = tables.insights.listings([row["listing_id"] for row in valid])
        photo_ids = {name: [str(photo["photo_id"]) for photo in rows] for name, rows in listings.items()}
        neighbours = [neighbour["photo_id"] for row in valid for neighbour in row["neighbours"]]
        stored |= _stored(photos, {*neighbours, *chain.from_iterable(photo_ids.values())} - stored.keys())
        predictions = tables.insights.photos_by_id(neighbours)
        suggestions = {
            row["rank"]: _suggestion(row, stored, photo_ids.get(row["listing_id"], []), predictions, photo_url)
            for row in valid
        }
        return [suggestions.get(row["rank"]) for row in batch]

    return _page(tables.insights.suggestions, rows, after, limit, current)


def open_duplicates(
    tables: InsightTables,
    photos: PhotoCollection,
    photo_url: PhotoUrl,
    decisions: DecidedDuplicates,
    *,
    kind: str | None,
    after: int | None,
    limit: int,
    skipped: bool,
) -> QuestionPage[DuplicateGroup]:
    """Return groups of which at least two listings still exist, without the others."""
    rows = [
        row
        for row, listings in enumerate(tables.groups)
        if kind in {None, tables.kinds[row]} and _is_open(decisions.decision_on(listings), skipped=skipped)
    ]

    def is_open(group: DuplicateGroup) -> bool:
        return _is_open(decisions.decision_on(listing.listing_id for listing in group.listings), skipped=skipped)

    def current(batch: list[Row]) -> list[DuplicateGroup | None]:
        stored = _stored(photos, {photo_id for row in batch for photo_id in row["photo_ids"]})
        groups = [_group(row, stored, photo_url) for row in batch]
        return [group if group and is_open(group) else None for group in groups]

    return _page(tables.insights.duplicates, rows, after, limit, current)


def _page(
    table: Any, rows: Sequence[int], after: int | None, limit: int, current: Callable[[list[Row]], list[Item | None]]
) -> QuestionPage[Item]:
    """Return up to `limit` current items of these rows of a table, after the rank `after`.

    `current` converts rows to items, or to None if they are outdated.
    """
    ranks = table["rank"].to_numpy()
    remaining = [row for row in rows if after is None or ranks[row] > after]
    candidates = (
        (row, item)
        for batch in chunked(remaining, limit)
        for row, item in zip(batch, current(table.take(batch).to_pylist()), strict=True)
    )
    items: list[Item] = []
    outdated = 0
    for number, (row, item) in enumerate(candidates, 1):
        if item is None:
            outdated += 1
        else:
            items.append(item)
        if len(items) == limit:
            return QuestionPage(items, len(rows) - outdated, int(ranks[row]) if number < len(remaining) else None)
    return QuestionPage(items, len(rows) - outdated, None)


def _is_open(decision: Decision | None, *, skipped: bool) -> bool:
    return decision is None or (skipped and decision == "skip")


def _is_current(row: Row, stored: StoredPhoto | None) -> bool:
    if stored is None:
        return False
    listing = stored.photo.listing
    return (listing.listing_id, listing.category) == (row["listing_id"], row["category"])


def _stored(photos: PhotoCollection, photo_ids: Iterable[str]) -> dict[str, StoredPhoto]:
    found: dict[str, StoredPhoto] = {}
    for batch in chunked(photo_ids, _BATCH_SIZE):
        found |= photos.reader.stored(batch)
    return found


def _suggestion(
    row: Row,
    stored_photos: Mapping[str, StoredPhoto],
    photo_ids: list[str],
    predictions: Mapping[str, Row],
    photo_url: PhotoUrl,
) -> Suggestion:
    listing = stored_photos[row["photo_id"]].photo.listing
    others = [
        photo_id
        for photo_id in photo_ids
        if photo_id != row["photo_id"] and _belongs_to(listing.listing_id, stored_photos.get(photo_id))
    ]
    neighbours = [
        Evidence(
            **listing_fields(stored.photo.listing),
            photo_id=neighbour["photo_id"],
            photo_url=photo_url(neighbour["photo_id"]),
            predicted_category=predictions.get(neighbour["photo_id"], {}).get("predicted_category"),
            confidence=predictions.get(neighbour["photo_id"], {}).get("confidence"),
            similarity=neighbour["similarity"],
        )
        for neighbour in row["neighbours"]
        if (stored := stored_photos.get(neighbour["photo_id"]))
    ]
    return Suggestion(
        **listing_fields(listing),
        rank=row["rank"],
        photo_id=row["photo_id"],
        photo_url=photo_url(row["photo_id"]),
        photo_urls=[photo_url(photo_id) for photo_id in (row["photo_id"], *others)],
        suggested_category=row["suggested_category"],
        certainty=row["certainty"],
        head_probability=row["head_probability"],
        seller_probability=row["seller_probability"],
        title_probability=row["title_probability"],
        title_seller_probability=row["title_seller_probability"],
        title_words=row["title_words"],
        neighbour_share=row["neighbour_share"],
        neighbour_seller_share=row["neighbour_seller_share"],
        neighbours=neighbours,
    )


def _belongs_to(listing_id: str, stored: StoredPhoto | None) -> bool:
    return stored is not None and stored.photo.listing.listing_id == listing_id


def _group(row: Row, stored_photos: Mapping[str, StoredPhoto], photo_url: PhotoUrl) -> DuplicateGroup | None:
    """Return the group without removed listings and photos; None if fewer than two listings remain."""
    scores: dict[str, float] = {}
    for link in row["links"]:
        for photo_id in (link["photo_id_a"], link["photo_id_b"]):
            scores[photo_id] = max(scores.get(photo_id, -1.0), link["similarity"])
    photos: dict[str, list[StoredPhoto]] = {listing_id: [] for listing_id in row["listing_ids"]}
    for photo_id in row["photo_ids"]:
        if (stored := stored_photos.get(photo_id)) and stored.photo.listing.listing_id in photos:
            photos[stored.photo.listing.listing_id].append(stored)
    remaining = [
        DuplicateListing(
            **listing_fields(stored[0].photo.listing),
            photos=[
                DuplicatePhoto(photo_id=photo_id, photo_url=photo_url(photo_id), score=scores.get(photo_id, 0.0))
                for photo_id in (photo.photo.photo_id for photo in stored)
            ],
        )
        for stored in photos.values()
        if stored
    ]
    if len(remaining) < 2:
        return None
    low, high = _prices([stored[0].photo.listing for stored in photos.values() if stored])
    return DuplicateGroup(
        rank=row["rank"],
        kind=row["kind"],
        probability=row["probability"],
        listings=remaining,
        price_low=low,
        price_high=high,
        same_place=len({listing.location for listing in remaining}) == 1,
        same_category=len({listing.category for listing in remaining}) == 1,
    )


def _prices(listings: Sequence[Listing]) -> tuple[float | None, float | None]:
    """Return the lowest and highest price; None if there is no price, or several currencies."""
    priced = [(listing.price, listing.currency) for listing in listings if listing.price is not None]
    if len({currency for _, currency in priced}) != 1:
        return None, None
    return min(price for price, _ in priced), max(price for price, _ in priced)

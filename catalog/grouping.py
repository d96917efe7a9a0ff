"""Photos -> listings. Milvus cannot be left to group: one listing's photos may fill the whole neighbourhood."""

from collections import defaultdict
from collections.abc import Iterable

from catalog.listing import Hit, StoredPhoto

Scored = tuple[float, StoredPhoto]


def best_per_photo(scored: Iterable[Scored]) -> list[Scored]:
    """Nearest first, each photo once with its best score: several query photos may find the same one."""
    best: dict[str, Scored] = {}
    for score, stored in scored:
        known = best.get(stored.photo.photo_id)
        if known is None or score > known[0]:
            best[stored.photo.photo_id] = (score, stored)
    # The id breaks ties, so that equal scores keep one order on every store.
    return sorted(best.values(), key=lambda item: (-item[0], item[1].photo.photo_id))


def group_by_listing(photos: list[Scored], limit: int) -> list[Hit]:
    """Turn the nearest photos, nearest first, into the `limit` nearest listings, or as many as there are."""
    groups: dict[str, list[Scored]] = defaultdict(list)
    for score, stored in photos:
        groups[stored.photo.listing.listing_id].append((score, stored))
    page = list(groups.values())[:limit]
    last_score = page[-1][0][0] if page else 0.0
    return [
        Hit(
            listing=group[0][1].photo.listing,
            photo_id=group[0][1].photo.photo_id,
            score=group[0][0],
            matched_photos=sum(score >= last_score for score, _ in group),
        )
        for group in page
    ]

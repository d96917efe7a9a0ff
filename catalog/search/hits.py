"""Group photos into hits. Milvus cannot do the grouping: one listing's photos may fill the whole neighbourhood."""

from collections.abc import Callable, Iterable
from typing import Literal

from catalog.listing import Hit, Scored

GroupBy = Literal["listing", "photo"]
Seen = Callable[[str], bool]


def best_per_photo(scored: Iterable[Scored]) -> list[Scored]:
    """Return each photo once with its best score, nearest first: several query photos may find the same photo."""
    best: dict[str, Scored] = {}
    for score, stored in scored:
        previous = best.get(stored.photo.photo_id)
        if previous is None or score > previous[0]:
            best[stored.photo.photo_id] = (score, stored)
    # The id breaks ties, so that equal scores keep one order on every store.
    return sorted(best.values(), key=lambda item: (-item[0], item[1].photo.photo_id))


def group(photos: Iterable[Scored], by: GroupBy, seen: Seen | None = None) -> list[Hit]:
    """Group photos, nearest first, into hits, nearest first; hits whose listing or photo id is `seen` are left out."""
    groups: dict[str, list[Scored]] = {}
    for scored in photos:
        photo = scored[1].photo
        groups.setdefault(photo.listing.listing_id if by == "listing" else photo.photo_id, []).append(scored)
    return [
        Hit(photo=best[1], score=best[0], others=tuple(others))
        for key, (best, *others) in groups.items()
        if seen is None or not seen(key)
    ]

"""Group photos into hits. Milvus cannot do the grouping: one listing's photos may fill the whole neighbourhood."""

from collections.abc import Callable, Iterable
from typing import Literal

from catalog.listing import Hit, Scored

GroupBy = Literal["listing", "photo"]
Seen = Callable[[str], bool]


def group_hits(photos: Iterable[Scored], by: GroupBy, seen: Seen | None = None) -> list[Hit]:
    """Group photos into hits, nearest first; hits whose listing or photo id is `seen` are left out.

    Several query photos may find the same photo: it counts once, with its best score.
    """
    best: dict[str, Scored] = {}
    for score, stored in photos:
        previous = best.get(stored.photo.photo_id)
        if previous is None or score > previous[0]:
            best[stored.photo.photo_id] = (score, stored)
    groups: dict[str, list[Scored]] = {}
    # The id breaks ties, so that equal scores keep one order on every store.
    for scored in sorted(best.values(), key=lambda item: (-item[0], item[1].photo.photo_id)):
        photo = scored[1].photo
        groups.setdefault(photo.listing.listing_id if by == "listing" else photo.photo_id, []).append(scored)
    return [
        Hit(photo=best[1], score=best[0], others=tuple(others))
        for key, (best, *others) in groups.items()
        if seen is None or not seen(key)
    ]

"""Compare a build with the live collection: missing photos, out-of-date ones, and ones that were removed since."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from more_itertools import chunked

from catalog.listing import StoredPhoto
from catalog.store.collection import PhotoCollection

_LOOK_UP = 1_000  # photos per look-up


@dataclass(frozen=True, slots=True)
class Batch:
    """Differences among the photos `ids`.

    `changed`: the live collection's photos that the build lacks or holds in another version; `in_build`: the build's
    photos by id; `removed`: ids of photos that only the build holds.
    """

    ids: list[str]
    changed: list[StoredPhoto]
    in_build: dict[str, StoredPhoto]
    removed: list[str]


@dataclass(frozen=True, slots=True)
class Difference:
    """How many photos the build lacks, holds in another version, or holds although the live collection removed them."""

    missing: int
    changed: int
    removed: int

    @property
    def total(self) -> int:
        """Sum of the three; 0 if build and live collection hold the same photos."""
        return self.missing + self.changed + self.removed

    def __str__(self) -> str:
        parts = ((self.missing, "missing"), (self.changed, "out of date"), (self.removed, "removed since"))
        return ", ".join(f"{count:,} {kind}" for count, kind in parts if count) or "none"


def find_suspects(live: PhotoCollection, build: PhotoCollection) -> list[str]:
    """Return ids of photos that seem to differ. A photo written during the scan may be missed or seen in only one."""
    live.reader.wait_for_scan_lag()
    # Hashes instead of records: a million of them fit into memory.
    unmatched = {stored.photo.photo_id: hash(stored) for batch in build.reader.records() for stored in batch}
    ids = []
    for batch in live.reader.records():
        for stored in batch:
            photo_id = stored.photo.photo_id
            if unmatched.pop(photo_id, None) != hash(stored):
                ids.append(photo_id)
    return ids + list(unmatched)


def look_up_batches(
    live: PhotoCollection, build: PhotoCollection, ids: Sequence[str], size: int = _LOOK_UP
) -> Iterator[Batch]:
    """Look these photos up in both collections, `size` at a time; yield the actual differences."""
    for chunk in chunked(ids, size):
        in_live, in_build = live.reader.stored(chunk), build.reader.stored(chunk)
        yield Batch(
            chunk,
            [stored for photo_id, stored in in_live.items() if in_build.get(photo_id) != stored],
            in_build,
            [photo_id for photo_id in in_build if photo_id not in in_live],
        )


def compare(live: PhotoCollection, build: PhotoCollection) -> Difference:
    """Count the differences."""
    missing = changed = removed = 0
    for batch in look_up_batches(live, build, find_suspects(live, build)):
        outdated = sum(stored.photo.photo_id in batch.in_build for stored in batch.changed)
        missing += len(batch.changed) - outdated
        changed += outdated
        removed += len(batch.removed)
    return Difference(missing, changed, removed)

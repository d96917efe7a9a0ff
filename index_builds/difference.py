"""In what a build differs from the live collection: what it lacks, has otherwise, or has too much."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from more_itertools import chunked

from catalog.listing import StoredPhoto
from catalog.store.collection import PhotoCollection

_LOOK_UP = 1_000


@dataclass(frozen=True, slots=True)
class Batch:
    """Photos looked up: `wanted` differ, as the live collection has them; `known` are the build's; `gone` are ids."""

    ids: list[str]
    wanted: list[StoredPhoto]
    known: dict[str, StoredPhoto]
    gone: list[str]


@dataclass(frozen=True, slots=True)
class Difference:
    """How many photos the build lacks, has otherwise, or has although the live collection has them no more."""

    missing: int
    changed: int
    gone: int

    @property
    def total(self) -> int:
        """All three; 0 where build and live collection hold the same."""
        return self.missing + self.changed + self.gone

    def __str__(self) -> str:
        parts = ((self.missing, "missing"), (self.changed, "out of date"), (self.gone, "removed since"))
        return ", ".join(f"{count:,} {what}" for count, what in parts if count) or "none"


def suspects(live: PhotoCollection, build: PhotoCollection) -> list[str]:
    """Ids of photos that seem to differ. What is written while this scans both may be missed, or seen in one alone."""
    live.reader.settle()
    # Hashes, not records: a million of them fit into memory.
    known = {stored.photo.photo_id: hash(stored) for batch in build.reader.records() for stored in batch}
    ids = []
    for batch in live.reader.records():
        for stored in batch:
            photo_id = stored.photo.photo_id
            if known.pop(photo_id, None) != hash(stored):
                ids.append(photo_id)
    return ids + list(known)


def differing(
    live: PhotoCollection, build: PhotoCollection, ids: Sequence[str], size: int = _LOOK_UP
) -> Iterator[Batch]:
    """Look these photos up in both, `size` at a time: what really differs now."""
    for chunk in chunked(ids, size):
        wanted, known = live.reader.stored(chunk), build.reader.stored(chunk)
        yield Batch(
            chunk,
            [stored for photo_id, stored in wanted.items() if known.get(photo_id) != stored],
            known,
            [photo_id for photo_id in known if photo_id not in wanted],
        )


def compare(live: PhotoCollection, build: PhotoCollection) -> Difference:
    """Count what differs."""
    missing = changed = gone = 0
    for batch in differing(live, build, suspects(live, build)):
        there = sum(stored.photo.photo_id in batch.known for stored in batch.wanted)
        missing += len(batch.wanted) - there
        changed += there
        gone += len(batch.gone)
    return Difference(missing, changed, gone)

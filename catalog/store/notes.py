"""Notes stored with a collection: when it last changed, how many photos it had, which ingest writes to it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from catalog.store.queries import STRONG, Queries
from catalog.store.target import Target

_PHOTOS = "photos"  # their number after the last change
_CHANGED = "changed_at"


class CollectionNotes:
    """Texts by key. All methods raise CollectionMissing, StoreFailed, StoreUnreachable. Safe for threads."""

    def __init__(self, target: Target, queries: Queries) -> None:
        self._builds = target.builds
        self._target = target
        self._queries = queries

    def get(self, key: str) -> str:
        """Return the note of this key, never from a cache; '' if there is none."""
        return self._builds.note(self._target.info().name, key)

    def set(self, key: str, value: str) -> None:
        """Store a note with this collection."""
        self._builds.set_notes(self._target.info().name, **{key: value})

    def begin_changes(self) -> None:
        """Note that changes are in progress, so that `lost` returns 0."""
        self.set(_PHOTOS, "")

    def end_changes(self, at: int | None = None) -> int:
        """Note the time of the change and the number of photos, for `lost` to compare with; return that number.

        `at` is the time in Unix seconds; None means now.
        """
        count = self._queries.count("", **STRONG)
        moment = int(time.time()) if at is None else at
        self._builds.set_notes(self._target.info().name, **{_PHOTOS: str(count), _CHANGED: str(moment)})
        return count

    def changed_at(self) -> int:
        """Return when the last change was complete, in Unix seconds; 0 before the first. One request to the store."""
        return int(self.get(_CHANGED) or 0)

    def lost(self) -> int:
        """Count the photos that are missing although nobody removed them; 0 while changes are in progress.

        A damaged Lite file can lose rows silently, see docs/decisions/0009.
        """
        expected = self.get(_PHOTOS)
        return max(0, int(expected) - self._queries.count("")) if expected else 0

    @contextmanager
    def record_change(self) -> Iterator[None]:
        """Keep `lost` and `changed_at` correct around writes outside an ingest."""
        had_count = bool(self.get(_PHOTOS))
        if had_count:
            self.begin_changes()
        yield
        # An ingest that never ended leaves no count; another process may have noted one meanwhile.
        if had_count or self.get(_PHOTOS):
            self.end_changes()
        else:
            self.set(_CHANGED, str(int(time.time())))

"""Notes that are kept with a collection: when it last changed, how many photos it had, who writes to it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from catalog.store.queries import STRONG, Queries
from catalog.store.target import Target

_PHOTOS = "photos"  # how many there were after the last change
_CHANGED = "changed_at"


class CollectionNotes:
    """Texts by key. All methods raise CollectionMissing, StoreFailed, StoreUnreachable. Safe for threads."""

    def __init__(self, target: Target, queries: Queries) -> None:
        self._builds = target.builds
        self._target = target
        self._queries = queries

    def get(self, key: str) -> str:
        """What `set` kept with this collection, never from a cache; '' where there is nothing."""
        return self._builds.note(self._target.info().name, key)

    def set(self, key: str, value: str) -> None:
        """Keep a text with this collection, under a key of its own."""
        self._builds.set_notes(self._target.info().name, **{key: value})

    def begin_changes(self) -> None:
        """Say that what is stored is changing, so that `lost` counts nothing."""
        self.set(_PHOTOS, "")

    def end_changes(self, at: int | None = None) -> int:
        """Keep when that was, and how many photos there are now, for `lost` to count from; returns that.

        `at` is in Unix seconds; None for now.
        """
        count = self._queries.count("", **STRONG)
        moment = int(time.time()) if at is None else at
        self._builds.set_notes(self._target.info().name, **{_PHOTOS: str(count), _CHANGED: str(moment)})
        return count

    def changed_at(self) -> int:
        """When the last change was complete, in Unix seconds; 0 before the first. One question to the store."""
        return int(self.get(_CHANGED) or 0)

    def lost(self) -> int:
        """How many photos are gone that nobody removed; 0 while changes are made.

        A damaged Lite file can lose rows without a word, see docs/decisions/0009.
        """
        told = self.get(_PHOTOS)
        return max(0, int(told) - self._queries.count("")) if told else 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Writes that are no ingest's: `lost` and `changed_at` stay true."""
        was_counted = bool(self.get(_PHOTOS))
        if was_counted:
            self.begin_changes()
        yield
        # An ingest that never ended has left `lost` nothing to count from; another process may have by now.
        if was_counted or self.get(_PHOTOS):
            self.end_changes()
        else:
            self.set(_CHANGED, str(int(time.time())))

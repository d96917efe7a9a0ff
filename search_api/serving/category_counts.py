"""Counts per category. Counting reads every row, so the result is cached."""

import threading

from cachetools import TTLCache

from catalog.store.collection import CategorySize, PhotoCollection

CATEGORIES_SECONDS = 30.0


class CategoryCounts:
    """Cached category counts. Safe for threads: concurrent requests count once."""

    def __init__(self, photos: PhotoCollection) -> None:
        self._photos = photos
        self._categories: TTLCache[object, list[CategorySize]] = TTLCache(4, CATEGORIES_SECONDS)
        self._lock = threading.Lock()

    def categories(self) -> list[CategorySize]:
        """Return the size of every root category, at most half a minute old."""
        with self._lock:
            key = self._photos.info().name
            if key not in self._categories:
                self._categories[key] = self._photos.reader.categories()
            return self._categories[key]

"""Counts of the collection as a whole. They read every row, so they are kept for a while."""

import threading

from cachetools import TTLCache

from catalog.store.collection import CategorySize, PhotoCollection

CATEGORIES_SECONDS = 30.0


class CategoryCounts:
    """Category counts. Safe for threads; two requests at once count once."""

    def __init__(self, photos: PhotoCollection) -> None:
        self._photos = photos
        self._categories: TTLCache[object, list[CategorySize]] = TTLCache(4, CATEGORIES_SECONDS)
        self._counting = threading.Lock()

    def categories(self) -> list[CategorySize]:
        """Size of every root category, at most half a minute old."""
        with self._counting:
            key = self._photos.info().name
            if key not in self._categories:
                self._categories[key] = self._photos.reader.categories()
            return self._categories[key]

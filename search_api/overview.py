"""Answers about the collection as a whole. Each reads every row, so each is kept for a while."""

import threading
from dataclasses import dataclass

from cachetools import TTLCache

from catalog.collection import CategorySize, PhotoCollection
from catalog.listing import Photo
from search_api.projection import project

CATEGORIES_SECONDS = 30.0
MAP_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Placed:
    """A photo and where it stands on the map."""

    photo: Photo
    x: float
    y: float


class Overview:
    """Category counts and the 2-D map. Safe for threads; two requests for one map compute it once."""

    def __init__(self, photos: PhotoCollection) -> None:
        self._photos = photos
        self._categories: TTLCache[object, list[CategorySize]] = TTLCache(4, CATEGORIES_SECONDS)
        self._maps: TTLCache[object, list[Placed]] = TTLCache(4, MAP_SECONDS)
        # One each: a map takes seconds, and nobody waits for it who wants the counts.
        self._counting, self._mapping = threading.Lock(), threading.Lock()

    def categories(self) -> list[CategorySize]:
        """Size of every root category, at most half a minute old."""
        with self._counting:
            key = self._photos.info().name
            if key not in self._categories:
                self._categories[key] = self._photos.categories()
            return self._categories[key]

    def map(self, limit: int) -> tuple[list[Placed], int]:
        """Up to `limit` photos with their places, and how many photos there are.

        Made anew when that changes, and every ten minutes, since a listing may have changed its price or category.
        """
        with self._mapping:
            total = self._photos.count()
            key = (self._photos.info().name, total, limit)
            if key not in self._maps:
                stored, embeddings = self._photos.sample(limit)
                places = project(embeddings).tolist()
                self._maps[key] = [Placed(one.photo, x, y) for one, (x, y) in zip(stored, places, strict=True)]
            return self._maps[key], total

"""A question to the API: uploaded photos, perhaps parts of them, beside what the link says."""

from dataclasses import dataclass
from typing import Any

from dashboard.asked import Asked
from search_api.schemas import Box, ExplainRequest, SearchRequest


@dataclass(frozen=True)
class Photo:
    """An uploaded photo. `key` tells it from the others of this session; without a box all of it counts."""

    key: str
    name: str
    content_type: str
    content: bytes
    box: Box | None = None


@dataclass(frozen=True)
class Question:
    """What is searched by and for."""

    asked: Asked
    photos: tuple[Photo, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to search by; what is not wanted is no beginning."""
        return not self.photos and not self.asked.listing_id

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for questions with the same answer."""
        return (self.asked, *((photo.key, repr(photo.box)) for photo in self.photos))

    @property
    def contents(self) -> list[bytes]:
        """The photos to send along."""
        return [photo.content for photo in self.photos]

    def search(self) -> SearchRequest:
        """Put it as a search, with counts per category."""
        return SearchRequest(**self._source(), filter=self.asked.filter(), limit=self.asked.limit, facets=True)

    def explain(self, photo_id: str) -> ExplainRequest:
        """Ask why a photo was found, with pictures."""
        return ExplainRequest(**self._source(), hit_photo_id=photo_id, overlays=True)

    def _source(self) -> dict[str, Any]:
        return self._positives() | (
            {"negatives": [{"listing_id": listing_id} for listing_id in self.asked.unlike]} if self.asked.unlike else {}
        )

    def _positives(self) -> dict[str, Any]:
        """One photo, photos of one thing or one listing where it can be: those have a probability."""
        liked, boxes = self.asked.listing_id, [photo.box for photo in self.photos]
        if not liked and not any(boxes):
            return {}
        if not liked and len(boxes) == 1:
            return {"box": boxes[0]}
        if len(liked) == 1 and not boxes:
            return {"listing_id": liked[0]}
        uploads = [{"upload": place} | ({"box": box} if box else {}) for place, box in enumerate(boxes)]
        return {"positives": [*uploads, *({"listing_id": listing_id} for listing_id in liked)]}

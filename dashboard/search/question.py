"""A question to the API: uploaded photos, perhaps parts of them, beside what the link says."""

from dataclasses import dataclass
from typing import Any

from dashboard.search.state import SearchState
from search_api.schemas import MAX_EXAMPLES, Box, ExplainRequest, SearchRequest


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

    asked: SearchState
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
    def liked(self) -> tuple[str, ...]:
        """The listings wanted that count: no more than a search takes, the last ones."""
        return self.asked.listing_id[-MAX_EXAMPLES:]

    @property
    def unliked(self) -> tuple[str, ...]:
        """The listings not wanted that count, likewise."""
        return self.asked.unlike[-MAX_EXAMPLES:]

    @property
    def used(self) -> tuple[Photo, ...]:
        """The photos that count: all, or as examples, beside listings or by their parts, what there is room for."""
        are_examples = self.liked or any(photo.box for photo in self.photos)
        return self.photos[: MAX_EXAMPLES - len(self.liked)] if are_examples else self.photos

    @property
    def left_out(self) -> int:
        """How many photos and listings do not count."""
        given = (self.photos, self.asked.listing_id, self.asked.unlike)
        return sum(map(len, given)) - sum(map(len, (self.used, self.liked, self.unliked)))

    @property
    def contents(self) -> list[bytes]:
        """The photos to send along."""
        return [photo.content for photo in self.used]

    def search(self) -> SearchRequest:
        """Put it as a search, with counts per category."""
        return SearchRequest(**self._source(), filter=self.asked.filter(), limit=self.asked.limit, facets=True)

    def explain(self, photo_id: str) -> ExplainRequest:
        """Ask why a photo was found, with pictures."""
        return ExplainRequest(**self._source(), hit_photo_id=photo_id, overlays=True)

    def _source(self) -> dict[str, Any]:
        return self._positives() | (
            {"negatives": [{"listing_id": listing_id} for listing_id in self.unliked]} if self.unliked else {}
        )

    def _positives(self) -> dict[str, Any]:
        """One photo, photos of one thing or one listing where it can be: those have a probability."""
        liked, boxes = self.liked, [photo.box for photo in self.used]
        if not liked and not any(boxes):
            return {}
        if not liked and len(boxes) == 1:
            return {"box": boxes[0]}
        if len(liked) == 1 and not boxes:
            return {"listing_id": liked[0]}
        uploads = [{"upload": place} | ({"box": box} if box else {}) for place, box in enumerate(boxes)]
        return {"positives": [*uploads, *({"listing_id": listing_id} for listing_id in liked)]}

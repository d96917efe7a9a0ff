"""A query to the API: uploaded photos, or parts of them, and the state in the URL."""

from dataclasses import dataclass
from typing import Any

from dashboard.search.state import SearchState
from search_api.schemas import MAX_EXAMPLES, Box, ExplainRequest, SearchRequest


@dataclass(frozen=True)
class Photo:
    """An uploaded photo. `key` is unique in this session; without a box, the whole photo is searched by."""

    key: str
    name: str
    content_type: str
    content: bytes
    box: Box | None = None


@dataclass(frozen=True)
class SearchQuery:
    """The words, examples and filters of a search."""

    state: SearchState
    photos: tuple[Photo, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to search by: negative examples alone are not enough."""
        return not self.photos and not self.state.listing_id and not self.state.text

    @property
    def key(self) -> tuple[object, ...]:
        """A key that is equal for queries with the same answer."""
        return (self.state, *((photo.key, repr(photo.box)) for photo in self.photos))

    @property
    def positive_ids(self) -> tuple[str, ...]:
        """The positive example listings to send: the last ones, up to the limit of a search."""
        return self.state.listing_id[-MAX_EXAMPLES:]

    @property
    def negative_ids(self) -> tuple[str, ...]:
        """The negative example listings to send: likewise."""
        return self.state.unlike[-MAX_EXAMPLES:]

    @property
    def used_photos(self) -> tuple[Photo, ...]:
        """The photos to send: all of them, or up to the limit of examples if there are listings or marked parts."""
        are_examples = self.positive_ids or any(photo.box for photo in self.photos)
        return self.photos[: MAX_EXAMPLES - len(self.positive_ids)] if are_examples else self.photos

    @property
    def left_out_count(self) -> int:
        """The number of photos and listings that are not sent."""
        inputs = (self.photos, self.state.listing_id, self.state.unlike)
        return sum(map(len, inputs)) - sum(map(len, (self.used_photos, self.positive_ids, self.negative_ids)))

    @property
    def contents(self) -> list[bytes]:
        """The bytes of the photos to send."""
        return [photo.content for photo in self.used_photos]

    def search(self) -> SearchRequest:
        """Return the search request, with counts per category."""
        return SearchRequest(**self._source(), filter=self.state.filter(), limit=self.state.limit, facets=True)

    def explain(self, photo_id: str) -> ExplainRequest:
        """Return a request that explains why a photo was found, with heat maps."""
        return ExplainRequest(**self._source(), hit_photo_id=photo_id, overlays=True)

    def _source(self) -> dict[str, Any]:
        return (
            self._words()
            | self._positives()
            | (
                {"negatives": [{"listing_id": listing_id} for listing_id in self.negative_ids]}
                if self.negative_ids
                else {}
            )
        )

    def _words(self) -> dict[str, Any]:
        return {"text": self.state.text} if self.state.text else {}

    def _positives(self) -> dict[str, Any]:
        """Return a photo, photos of one item or a single listing as such if possible: these have a probability."""
        listing_ids, boxes = self.positive_ids, [photo.box for photo in self.used_photos]
        if not listing_ids and not any(boxes):
            return {}
        if not listing_ids and len(boxes) == 1:
            return {"box": boxes[0]}
        if len(listing_ids) == 1 and not boxes:
            return {"listing_id": listing_ids[0]}
        uploads = [{"upload": number} | ({"box": box} if box else {}) for number, box in enumerate(boxes)]
        return {"positives": [*uploads, *({"listing_id": listing_id} for listing_id in listing_ids)]}

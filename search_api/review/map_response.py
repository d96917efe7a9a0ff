"""The map as bytes. Tens of thousands of points take a second to sign, word and compress, so that is done once."""

import gzip
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from cachetools import LRUCache

from insights.store import Insights
from search_api.auth.signed_urls import PhotoUrls
from search_api.schemas import MapColumns, MapResponse

_TEXTS = ("photo_id", "listing_id", "title", "category", "subcategory", "currency", "location", "predicted_category")
_KEPT = 2  # 20 MB each
_LEVEL = 1  # 5.2 MB of 15.5, where level 6 makes 4.6 in more than three times as long


@dataclass(frozen=True, slots=True)
class Rendered:
    """An answer's body, plain and compressed; `tag` is another one for another body."""

    plain: bytes
    zipped: bytes
    tag: str


class Maps:
    """Keeps what was rendered for as long as its photos' addresses are those that are given out. Safe for threads."""

    def __init__(self, urls: PhotoUrls) -> None:
        self._urls = urls
        self._rendering = threading.Lock()
        self._kept: LRUCache[tuple[object, ...], Rendered] = LRUCache(_KEPT)

    def render(self, insights: Insights, limit: int) -> Rendered:
        """The map of up to `limit` photos."""
        # Those who ask at once wait for the one who renders.
        with self._rendering:
            key = (insights.path, insights.stamp, min(limit, insights.summary.mapped_photos), self._urls.period())
            if key not in self._kept:
                plain = map_response(insights, limit, self._urls.url).model_dump_json().encode()
                self._kept[key] = Rendered(plain, gzip.compress(plain, _LEVEL, mtime=0), _tag(plain))
            return self._kept[key]


def map_response(insights: Insights, limit: int, photo_url: Callable[[str], str]) -> MapResponse:
    """Columns of the map. Places to a ten-thousandth of its width: half a pixel of a wall of screens."""
    chosen = insights.on_map(limit)
    texts = {name: chosen[name].to_pylist() for name in _TEXTS}
    columns = MapColumns(
        **texts,
        photo_url=[photo_url(photo_id) for photo_id in texts["photo_id"]],
        price=chosen["price"].to_pylist(),
        confidence=_rounded(chosen["confidence"], 3),
        x=_rounded(chosen["x"], 4),
        y=_rounded(chosen["y"], 4),
    )
    summary = insights.summary
    return MapResponse(
        columns=columns,
        total_photos=summary.photos,
        collection=summary.collection,
        model_fingerprint=summary.model_fingerprint,
        made_at=summary.made_at,
    )


def _rounded(column: pa.ChunkedArray, digits: int) -> list[float | None]:
    known = column.is_valid().to_numpy()
    values = np.round(column.to_numpy().astype(np.float64), digits).tolist()
    return [value if is_known else None for value, is_known in zip(values, known, strict=True)]


def _tag(body: bytes) -> str:
    # Weak: one for the plain and the compressed body.
    return f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'

"""The map as response bodies, cached: signing, serialising and compressing 50,000 points takes a second."""

import gzip
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from cachetools import LRUCache

from insights.result_files import Insights
from search_api.auth.signed_urls import PhotoUrls
from search_api.schemas import MapColumns, MapResponse

_TEXTS = ("photo_id", "listing_id", "title", "category", "subcategory", "currency", "location", "predicted_category")
_CACHED_MAPS = 2  # 20 MB each
_GZIP_LEVEL = 1  # compresses 15.5 MB to 5.2; level 6 reaches 4.6, but takes more than three times as long


@dataclass(frozen=True, slots=True)
class RenderedMap:
    """A response body, plain and compressed, with its ETag."""

    plain: bytes
    zipped: bytes
    tag: str


class MapCache:
    """Renders maps and caches them until their signed photo URLs change. Thread-safe."""

    def __init__(self, urls: PhotoUrls) -> None:
        self._urls = urls
        self._lock = threading.Lock()
        self._cache: LRUCache[tuple[object, ...], RenderedMap] = LRUCache(_CACHED_MAPS)

    def render(self, insights: Insights, limit: int) -> RenderedMap:
        """Return the map of up to `limit` photos."""
        # Concurrent requests wait for the first one to render.
        with self._lock:
            key = (insights.path, insights.stamp, min(limit, insights.summary.mapped_photos), self._urls.period())
            if key not in self._cache:
                plain = map_response(insights, limit, self._urls.url).model_dump_json().encode()
                self._cache[key] = RenderedMap(plain, gzip.compress(plain, _GZIP_LEVEL, mtime=0), _etag(plain))
            return self._cache[key]


def map_response(insights: Insights, limit: int, photo_url: Callable[[str], str]) -> MapResponse:
    """Build the map's columns. Positions are rounded to a ten-thousandth of its width: less than a pixel."""
    table = insights.on_map(limit)
    texts = {name: table[name].to_pylist() for name in _TEXTS}
    columns = MapColumns(
        **texts,
        photo_url=[photo_url(photo_id) for photo_id in texts["photo_id"]],
        price=table["price"].to_pylist(),
        confidence=_rounded(table["confidence"], 3),
        x=_rounded(table["x"], 4),
        y=_rounded(table["y"], 4),
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


def _etag(body: bytes) -> str:
    # Weak, because the plain and the compressed body share it.
    return f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'

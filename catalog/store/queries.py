"""Queries without vectors: rows by id or by filter expression, scans, and counts."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from catalog.listing import StoredPhoto
from catalog.search.search_plan import MAX_TOP_K
from catalog.store.filters import one_of
from catalog.store.milvus import WRITE_SECONDS, Milvus, translate_errors
from catalog.store.records import FIELDS, from_row
from catalog.store.target import Target

Consistency = Literal["Bounded", "Session"]

STRONG = {"consistency_level": "Strong"}
"""Sees the latest writes to a server, including those of other processes."""


class Queries:
    """Queries of one collection. All raise CollectionMissing, StoreFailed, StoreUnreachable. Safe for threads."""

    def __init__(self, milvus: Milvus, target: Target, consistency: Consistency) -> None:
        self._client = milvus.client
        self._settings = milvus.settings
        self._target = target
        self._consistency = consistency

    def listing_photos(self, listing_id: str, **options: str) -> list[StoredPhoto]:
        """Return all photos of a listing, ordered by id; an empty list if there is no such listing."""
        rows = self.query(one_of("listing_id", [listing_id]), FIELDS, limit=MAX_TOP_K, **options)
        return sorted((from_row(row) for row in rows), key=lambda stored: stored.photo.photo_id)

    def by_id(self, photo_ids: Sequence[str], fields: Sequence[str], *, strong: bool = False) -> list[dict[str, Any]]:
        """Return the rows of these photos, in no order; skip missing ids. For `strong` see `STRONG`."""
        if not photo_ids:
            return []
        # Not client.get: it single-quotes ids without escaping them.
        options = STRONG if strong else {}
        return self.query(one_of("photo_id", photo_ids), fields, limit=len(photo_ids), **options)

    def count(self, expression: str, **options: str) -> int:
        """Count the rows that pass the expression; '' passes all."""
        return int(self.query(expression, ("count(*)",), **options)[0]["count(*)"])

    def query(self, expression: str, fields: Sequence[str], **options: int | str) -> list[dict[str, Any]]:
        """Return the rows that pass the expression. `options` are those of `MilvusClient.query`."""
        with translate_errors(self._settings.uri_without_password):
            rows: list[dict[str, Any]] = self._client.query(
                self._target.info().name,
                filter=expression,
                output_fields=list(fields),
                **{"consistency_level": self._consistency, "timeout": self._settings.timeout, **options},
            )
        return rows

    def scan(self, fields: Sequence[str], expression: str = "", *, batch_size: int) -> Iterator[list[dict[str, Any]]]:
        """Yield every row that passes the expression, in batches and in no order."""
        with translate_errors(self._settings.uri_without_password):
            iterator = self._client.query_iterator(
                self._target.info().name,
                batch_size=batch_size,
                filter=expression,
                output_fields=list(fields),
                consistency_level=self._consistency,
                timeout=WRITE_SECONDS,
            )
            try:
                while rows := iterator.next():
                    yield rows
            finally:
                iterator.close()

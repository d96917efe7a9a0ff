"""Queries without vectors: rows by id, by filter expression, in scans, and their number."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from catalog.listing import StoredPhoto
from catalog.search.search_plan import MAX_TOP_K
from catalog.store.filters import one_of
from catalog.store.milvus import WRITE_SECONDS, Milvus, translated
from catalog.store.records import FIELDS, from_row
from catalog.store.target import Target

Consistency = Literal["Bounded", "Session"]

STRONG = {"consistency_level": "Strong"}
"""Sees what was just written to a server, by another process as well."""


class Queries:
    """Queries of one collection. All raise CollectionMissing, StoreFailed, StoreUnreachable. Safe for threads."""

    def __init__(self, milvus: Milvus, target: Target, consistency: Consistency) -> None:
        self._client = milvus.client
        self._settings = milvus.settings
        self._target = target
        self._consistency = consistency

    def listing_photos(self, listing_id: str, **options: str) -> list[StoredPhoto]:
        """All photos of a listing, by id; none where there is no such listing."""
        rows = self.query(one_of("listing_id", [listing_id]), FIELDS, limit=MAX_TOP_K, **options)
        return sorted((from_row(row) for row in rows), key=lambda stored: stored.photo.photo_id)

    def by_id(self, photo_ids: Sequence[str], fields: Sequence[str], *, strong: bool = False) -> list[dict[str, Any]]:
        """Rows of these photos, in no order; ids that are not there are left out. `strong` as of `STRONG`."""
        if not photo_ids:
            return []
        # Not client.get: it puts ids between single quotes without escaping them.
        options = STRONG if strong else {}
        return self.query(one_of("photo_id", photo_ids), fields, limit=len(photo_ids), **options)

    def count(self, expression: str, **options: str) -> int:
        """How many rows pass the expression; '' for all."""
        return int(self.query(expression, ("count(*)",), **options)[0]["count(*)"])

    def query(self, expression: str, fields: Sequence[str], **options: int | str) -> list[dict[str, Any]]:
        """Rows that pass the expression. `options` are those of `MilvusClient.query`."""
        with translated(self._settings.shown):
            rows: list[dict[str, Any]] = self._client.query(
                self._target.info().name,
                filter=expression,
                output_fields=list(fields),
                **{"consistency_level": self._consistency, "timeout": self._settings.timeout, **options},
            )
        return rows

    def scan(self, fields: Sequence[str], expression: str = "", *, batch_size: int) -> Iterator[list[dict[str, Any]]]:
        """Every row that passes the expression, batch by batch, in no order."""
        with translated(self._settings.shown):
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

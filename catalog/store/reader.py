"""Read a collection: look-ups, scans, counts and searches."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from cachetools import TTLCache

from catalog.errors import NotFound
from catalog.listing import Embeddings, Page, Scored, StoredPhoto
from catalog.search.full_pages import PageRequest, full_pages
from catalog.search.hits import GroupBy, Seen
from catalog.search.search_plan import (
    FEW_TO_FETCH,
    MAX_TOP_K,
    SearchPlan,
    Sizes,
    first_plan,
    is_quantised,
    search_params,
)
from catalog.store.builds import CollectionInfo
from catalog.store.filters import SearchFilter
from catalog.store.milvus import Milvus, translate_errors
from catalog.store.queries import STRONG, Consistency, Queries
from catalog.store.records import FIELDS, from_row, to_row
from catalog.store.target import Target

_IDS_PER_QUERY = 1_000
_RECORDS_PER_BATCH = 10_000  # large, because Lite sorts all photos for each batch
_VECTORS_PER_BATCH = 4_000  # fewer than records: pymilvus makes a 32-byte object of each number
_RESPONSE_BYTES = 40_000_000  # must stay under 64 MiB
_ROW_BYTES = 600  # of a hit without its vector, with a long title
_SIZE_SECONDS = 5.0
_SCAN_LAG_SECONDS = 1.0  # twice the measured lag of a 2.3 server


@dataclass(frozen=True, slots=True)
class CategorySize:
    """Listings and photos of one root category."""

    category: str
    listings: int
    photos: int


class CollectionReader:
    """Reads one collection. Safe for threads.

    All methods raise CollectionMissing, StoreFailed and StoreUnreachable.
    """

    def __init__(self, milvus: Milvus, target: Target, queries: Queries, consistency: Consistency) -> None:
        self._client = milvus.client
        self._settings = milvus.settings
        self._target = target
        self._queries = queries
        self._consistency = consistency
        self._sizes: TTLCache[tuple[str, str], int] = TTLCache(1_000, _SIZE_SECONDS)
        self._sizes_lock = threading.Lock()

    def stored(self, photo_ids: Sequence[str], *, strong: bool = False) -> dict[str, StoredPhoto]:
        """Look up photos by id; skip missing ids. For `strong` see `count`."""
        return {row["photo_id"]: from_row(row) for row in self._queries.by_id(photo_ids, FIELDS, strong=strong)}

    def embeddings(self, photo_ids: Sequence[str], *, strong: bool = False) -> Embeddings:
        """Return the embeddings (n, dim) of these photos, in order. For `strong` see `count`. Raises NotFound."""
        rows = self._queries.by_id(photo_ids, ("photo_id", "embedding"), strong=strong)
        found = {row["photo_id"]: row["embedding"] for row in rows}
        if missing := [photo_id for photo_id in photo_ids if photo_id not in found]:
            raise NotFound(f"There is no photo {missing[0]!r}.")
        return np.asarray([found[photo_id] for photo_id in photo_ids], np.float32)

    def photo(self, photo_id: str) -> StoredPhoto:
        """Return a photo. Raises NotFound."""
        if stored := self.stored([photo_id]).get(photo_id):
            return stored
        raise NotFound(f"There is no photo {photo_id!r}.")

    def listing_photos(self, listing_id: str) -> list[StoredPhoto]:
        """Return all photos of a listing, ordered by id. Raises NotFound."""
        if photos := self._queries.listing_photos(listing_id):
            return photos
        raise NotFound(f"There is no listing {listing_id!r}.")

    def count(self, *, strong: bool = False) -> int:
        """Count the photos; `strong` sees the latest writes to a server, including those of other processes."""
        return self._queries.count("", **STRONG if strong else {})

    def ids(self) -> Iterator[tuple[str, str]]:
        """Yield the photo id and listing id of every photo, in no order. As fresh as `categories`."""
        for rows in self._queries.scan(("photo_id", "listing_id"), batch_size=MAX_TOP_K):
            for row in rows:
                yield row["photo_id"], row["listing_id"]

    def records(self) -> Iterator[list[StoredPhoto]]:
        """Yield every photo, in batches and in no order. As fresh as `categories`."""
        for rows in self._queries.scan(FIELDS, batch_size=_RECORDS_PER_BATCH):
            yield [from_row(row) for row in rows]

    def vectors(self) -> Iterator[tuple[list[str], Embeddings]]:
        """Yield the id and embedding (n, dim) of every photo, in batches. As fresh as `categories`."""
        for rows in self._queries.scan(("photo_id", "embedding"), batch_size=self._vectors_per_batch()):
            yield [row["photo_id"] for row in rows], np.asarray([row["embedding"] for row in rows], np.float32)

    def rows(self) -> Iterator[tuple[list[StoredPhoto], Embeddings]]:
        """Yield every photo with its embedding (n, dim), in batches and in no order. As fresh as `categories`."""
        for rows in self._queries.scan((*FIELDS, "embedding"), batch_size=self._vectors_per_batch()):
            yield [from_row(row) for row in rows], np.asarray([row["embedding"] for row in rows], np.float32)

    def wait_for_scan_lag(self) -> None:
        """Wait until a scan (`records`, `vectors`, `ids`) sees earlier writes: a second on a server."""
        if not self._settings.is_lite:
            time.sleep(_SCAN_LAG_SECONDS)

    def sample(self, limit: int) -> tuple[list[StoredPhoto], Embeddings]:
        """Return up to `limit` photos, evenly spread by id, with embeddings (n, dim). As fresh as `categories`."""
        ids = sorted(
            row["photo_id"] for rows in self._queries.scan(("photo_id",), batch_size=MAX_TOP_K) for row in rows
        )
        step = max(len(ids) / limit, 1.0)
        chosen = [ids[int(position * step)] for position in range(min(limit, len(ids)))]
        photos: list[StoredPhoto] = []
        embeddings = np.empty((len(chosen), self._target.info().dim), np.float32)
        for start in range(0, len(chosen), _IDS_PER_QUERY):
            rows = self._queries.by_id(chosen[start : start + _IDS_PER_QUERY], (*FIELDS, "embedding"))
            for row in rows:
                embeddings[len(photos)] = row["embedding"]
                photos.append(from_row(row))
        return photos, embeddings[: len(photos)]

    def categories(self) -> list[CategorySize]:
        """Return the size of every root category, largest first.

        Reads two columns of every row, so cache the result. A 2.3 server misses the writes of the last second.
        """
        photos: Counter[str] = Counter()
        listings: defaultdict[str, set[str]] = defaultdict(set)
        for rows in self._queries.scan(("category", "listing_id"), batch_size=MAX_TOP_K):
            for row in rows:
                photos[row["category"]] += 1
                listings[row["category"]].add(row["listing_id"])
        return [CategorySize(name, len(listings[name]), count) for name, count in photos.most_common()]

    def size_of(self, where: SearchFilter) -> int:
        """Count the photos that pass, ignoring excluded ids; up to five seconds old. Raises as `search` does.

        Takes a few milliseconds on a server. Lite reads every row that passes: 15 s for 50,000.
        """
        expression = replace(where, exclude_listing_ids=(), exclude_photo_ids=()).expression()
        key = (self._target.info().name, expression)
        with self._sizes_lock:
            size = self._sizes.get(key)
        if size is None:
            size = self._queries.count(expression)
            with self._sizes_lock:
                self._sizes[key] = size
        return size

    def search(
        self,
        queries: Embeddings,
        where: SearchFilter,
        limit: int,
        *,
        group_by: GroupBy = "listing",
        exact: bool = False,
        min_score: float = -1.0,
        seen: Seen | None = None,
        vectors: bool = False,
    ) -> Page:
        """Find the listings, or photos, nearest to any of the queries (n, dim): a full page if enough of them pass.

        The score is the cosine to the nearest query. `seen` tells for the id of a hit, a listing or a photo, whether an
        earlier page showed it; `vectors` adds the embedding to each hit.
        Raises CollectionMissing, InvalidFilter, StoreUnreachable.
        """
        request = PageRequest(limit, group_by, min_score, seen)
        return self.search_many([queries], where, request, exact=exact, vectors=vectors)[0]

    def search_many(
        self,
        searches: Sequence[Embeddings],
        where: SearchFilter,
        request: PageRequest,
        *,
        exact: bool = False,
        vectors: bool = False,
    ) -> list[Page]:
        """Return a page for each search, with queries (n, dim), in few calls to Milvus. Raises as `search` does."""
        info, expression = self._target.info(), where.expression()

        def find_nearest(queries: Embeddings, plan: SearchPlan) -> list[list[Scored]]:
            if plan.width == "scan":
                return self._compare_all(queries, expression, plan.photos)
            return _to_scored(self._nearest(info, queries, expression, plan, FIELDS))

        plan = self._plan(info, where, limit=request.limit, exact=exact)
        pages = full_pages(find_nearest, searches, request, plan, info.index)
        return [self._with_vectors(page) for page in pages] if vectors else pages

    def facets(
        self,
        queries: Embeddings,
        where: SearchFilter,
        min_score: float = -1.0,
        reach: int = 1_000,
        *,
        exact: bool = False,
    ) -> dict[str, int]:
        """Count the listings of each category among the `reach` photos nearest to the queries (n, dim), most first.

        Ignores the categories and subcategory of `where`, so that each count tells what choosing that category gives.
        `exact` searches as far as the index can: with IVF_FLAT and FLAT that finds everything.
        """
        info = self._target.info()
        where = replace(where, categories=(), subcategory="")
        fields = ("photo_id", "listing_id", "category")
        plan = replace(self._plan(info, where, limit=1), photos=min(reach, MAX_TOP_K))
        if plan.width == "scan":  # so few pass that all of them are compared
            compared = self._compare_all(queries, where.expression(), plan.photos)
            results = [[(score, to_row(stored)) for score, stored in result] for result in compared]
        else:
            if exact:
                plan = replace(plan, width="widest")
            results = self._nearest(info, queries, where.expression(), plan, fields)
        ranked = sorted((scored for result in results for scored in result), key=lambda scored: -scored[0])
        nearest = {row["photo_id"]: row for score, row in ranked if score >= min_score}
        listings = {(row["listing_id"], row["category"]) for row in islice(nearest.values(), reach)}
        return dict(Counter(category for _, category in listings).most_common())

    def nearest(self, queries: Embeddings, limit: int) -> list[list[Scored]]:
        """Return the photos nearest to each query (n, dim), as the index finds them: neither widened nor grouped."""
        return _to_scored(self._nearest(self._target.info(), queries, "", SearchPlan(limit, "planned"), FIELDS))

    def probe(self) -> bool:
        """Run a real search; return whether it found anything."""
        query = np.zeros((1, self._target.info().dim), np.float32)
        query[0, 0] = 1.0
        return bool(self.nearest(query, 1)[0])

    def _plan(self, info: CollectionInfo, where: SearchFilter, *, limit: int, exact: bool = False) -> SearchPlan:
        # On Lite, counting the photos that pass takes longer than any search; on a server, both take milliseconds.
        sizes = None if self._settings.is_lite else Sizes(self.size_of(where), self.size_of(SearchFilter()), info.dim)
        return first_plan(limit, info.index, sizes, narrow=where.is_narrow, exact=exact)

    def _with_vectors(self, page: Page) -> Page:
        rows = self._queries.by_id([hit.photo_id for hit in page.hits], ("photo_id", "embedding"))
        embeddings = {row["photo_id"]: np.asarray(row["embedding"], np.float32) for row in rows}
        return replace(page, hits=[replace(hit, embedding=embeddings.get(hit.photo_id)) for hit in page.hits])

    def _nearest(
        self, info: CollectionInfo, queries: Embeddings, expression: str, plan: SearchPlan, fields: Sequence[str]
    ) -> list[list[tuple[float, dict[str, Any]]]]:
        quantised = is_quantised(info.index)  # such scores are approximate: recalculate them from the vectors
        results: list[Any] = []
        row_bytes = _ROW_BYTES + 4 * info.dim if quantised else _ROW_BYTES
        step = max(1, _RESPONSE_BYTES // (plan.photos * row_bytes))
        with translate_errors(self._settings.uri_without_password):
            for start in range(0, len(queries), step):
                results += self._client.search(
                    info.name,
                    queries[start : start + step],
                    filter=expression,
                    limit=plan.photos,
                    output_fields=[*fields, "embedding"] if quantised else list(fields),
                    search_params={"metric_type": "COSINE", "params": search_params(info.index, plan)},
                    consistency_level=self._consistency,
                    timeout=self._settings.timeout,
                )
        if quantised:
            row_lists = ([hit["entity"] for hit in result] for result in results)
            return [_rank(query, rows) for query, rows in zip(queries, row_lists, strict=True)]
        return [[(_cosine(hit["distance"]), hit["entity"]) for hit in result] for result in results]

    def _compare_all(self, queries: Embeddings, expression: str, limit: int) -> list[list[Scored]]:
        """Compare each query (n, dim) with every vector that passes, in this process: always exact, slow for many."""
        rows = self._queries.query(expression, (*FIELDS, "embedding"), limit=FEW_TO_FETCH + 1)
        if len(rows) <= FEW_TO_FETCH:
            return _to_scored([_rank(query, rows)[:limit] for query in queries])
        ids: list[str] = []
        score_blocks = [np.empty((len(queries), 0), np.float32)]
        for rows in self._queries.scan(("photo_id", "embedding"), expression, batch_size=_IDS_PER_QUERY):
            ids += [row["photo_id"] for row in rows]
            score_blocks.append(queries @ np.asarray([row["embedding"] for row in rows], np.float32).T)
        scores = np.concatenate(score_blocks, axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :limit]
        hit_ids = [ids[column] for column in np.unique(order)]
        stored: dict[str, StoredPhoto] = {}
        for start in range(0, len(hit_ids), _IDS_PER_QUERY):
            stored |= self.stored(hit_ids[start : start + _IDS_PER_QUERY])
        return [
            [(_cosine(row[column]), stored[ids[column]]) for column in columns if ids[column] in stored]
            for row, columns in zip(scores, order, strict=True)
        ]

    def _vectors_per_batch(self) -> int:
        return min(_VECTORS_PER_BATCH, _RESPONSE_BYTES // (_ROW_BYTES + 4 * self._target.info().dim))


def _to_scored(results: list[list[tuple[float, dict[str, Any]]]]) -> list[list[Scored]]:
    return [[(score, from_row(row)) for score, row in result] for result in results]


def _cosine(score: float) -> float:
    # Rounding can make the cosine of a photo with itself slightly larger than 1.
    return min(max(float(score), -1.0), 1.0)


def _rank(query: Embeddings, rows: list[dict[str, Any]]) -> list[tuple[float, dict[str, Any]]]:
    """Score rows by their stored vectors and sort them, nearest first."""
    scored = [(_cosine(np.dot(query, np.asarray(row["embedding"], np.float32))), row) for row in rows]
    return sorted(scored, key=lambda pair: -pair[0])

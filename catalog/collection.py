"""The photos of one collection: written, looked up, searched."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from cachetools import TTLCache

from catalog.builds import Builds, CollectionInfo
from catalog.claims import CLAIM, ClaimWatch
from catalog.errors import CollectionMissing, CollectionReplaced, IngestRunning, ModelMismatch, NotFound, StoreFailed
from catalog.filters import SearchFilter, one_of
from catalog.grouping import GroupBy, Seen
from catalog.index import Embeddings, check_embeddings
from catalog.listing import Page, Scored, StoredPhoto
from catalog.listing_change import ListingChange
from catalog.milvus import WRITE_SECONDS, Milvus, no_catalogue, translated
from catalog.planning import FEW_TO_FETCH, MAX_TOP_K, Reach, Sizes, first_reach, is_quantised, search_params
from catalog.records import FIELDS, from_row, to_row
from catalog.searching import Wanted, full_pages
from catalog.settings import BulkSettings, IndexSettings, MilvusSettings

if TYPE_CHECKING:
    from catalog.bulk import BulkLoad

__all__ = ["CategorySize", "CollectionInfo", "Consistency", "PhotoCollection", "no_catalogue"]

Consistency = Literal["Bounded", "Session"]

UPSERT_ROWS = 1_000  # a message must stay under 64 MiB; 1,000 rows of 2,048 dimensions are 8
_PHOTOS = "photos"  # the property that says how many there were after the last change
_CHANGED = "changed_at"
_SCANNED = 10_000  # records in a batch: Lite sorts all photos for each
_VECTORS = 4_000  # the same with embeddings: pymilvus makes an object of 32 bytes of each number
_ANSWER_BYTES = 40_000_000  # must stay under 64 MiB
_ROW_BYTES = 600  # of a hit without its vector, with a long title
_SIZE_SECONDS = 5.0
_INFO_SECONDS = 2.0
_STRONG = {"consistency_level": "Strong"}
_SCAN_LAG_SECONDS = 1.0  # half of it measured, on a 2.3 server


@dataclass(frozen=True, slots=True)
class CategorySize:
    """How much one root category holds."""

    category: str
    listings: int
    photos: int


class PhotoCollection:
    """The photos of one catalogue, behind one alias, or those of one build. Safe for threads."""

    def __init__(self, milvus: Milvus, index: IndexSettings, consistency: Consistency, build: str = ""):
        self.builds = Builds(milvus)
        self._milvus = milvus
        self._client = milvus.client
        self._settings = milvus.settings
        self._index = index
        self._consistency = consistency
        self._build = build
        self._ensured = ""
        self._info_lock = threading.Lock()
        # A build's own collection never changes; where the alias points does.
        self._info: TTLCache[str, CollectionInfo] = TTLCache(1, float("inf") if build else _INFO_SECONDS)
        self._sizes: TTLCache[tuple[str, str], int] = TTLCache(1_000, _SIZE_SECONDS)
        self._sizes_lock = threading.Lock()
        self._changing = threading.Lock()
        self._claims = ClaimWatch()

    @classmethod
    def connect(
        cls, milvus: MilvusSettings, index: IndexSettings, *, consistency: Consistency = "Bounded"
    ) -> "PhotoCollection":
        """Open the store. Raises StoreUnreachable, StoreLocked, InvalidSetting. Lite allows one process at a time.

        `Session` sees this process's own last writes, which a server's default, `Bounded`, does not; it costs 3 ms.
        """
        return cls(Milvus.connect(milvus, index), index, consistency)

    def at(self, build: CollectionInfo) -> "PhotoCollection":
        """The photos of this build, wherever the alias points. Over the same connection: close only the first."""
        return PhotoCollection(self._milvus, self._index, self._consistency, build.name)

    def close(self) -> None:
        """Give the store back; on Lite, another process can open it then."""
        self._milvus.close()

    def info(self, *, fresh: bool = False) -> CollectionInfo:
        """Describe the collection, as it was at most two seconds ago unless `fresh`. Raises CollectionMissing."""
        with self._info_lock:
            if not fresh and (known := self._info.get("")):
                return known
            info = self.builds.describe(self._build) if self._build else self.builds.live()
            self._milvus.load(info.name)
            self._info[""] = info
            return info

    def require(self, fingerprint: str) -> CollectionInfo:
        """Describe the collection. Raises ModelMismatch unless this model made it; CollectionMissing."""
        info = self.info()
        if info.fingerprint != fingerprint:
            raise ModelMismatch(
                f"The collection {info.name} in {self._settings.shown} was made by the model {info.fingerprint[:12]}, "
                f"but the model in use is {fingerprint[:12]}. Embeddings of two models cannot be compared.",
                hint=f"Use the model that made it (--model {info.model or 'FOLDER'}), or make a build with yours: "
                "marketlens index build",
            )
        return info

    def ensure(self, fingerprint: str, dim: int, *, model: str = "") -> CollectionInfo:
        """Create the collection and its alias unless they are there; `model` is that model's folder.

        From here on, writes raise CollectionReplaced once another build is live. Raises ModelMismatch.
        """
        try:
            info = self.require(fingerprint)
        except CollectionMissing:
            self.builds.create_live(fingerprint, dim, self._index, model=model)
            info = self.info()
        self._ensured = info.name
        return info

    def bulk_load(self, settings: BulkSettings) -> "BulkLoad":
        """What fills this collection by files. Raises what it raises; ImportError without the extra `bulk`."""
        from catalog.bulk import BulkLoad  # noqa: PLC0415 - with packages of its own

        return BulkLoad(self._milvus, self.info(), settings)

    def elsewhere(self) -> "Callable[[], PhotoCollection]":
        """What opens this collection over another connection, in another process as well; not on Lite.

        Writes over there raise CollectionReplaced as they do here.
        """
        return partial(_open_again, self._settings, self._index, self._consistency, self._build, self._ensured)

    def upsert(self, photos: Sequence[StoredPhoto], embeddings: Embeddings) -> None:
        """Write photos with their embeddings (n, dim), unit length; an id that is there already is replaced.

        When this returns, Milvus has confirmed every row. Raises StoreFailed, StoreUnreachable.
        """
        check_embeddings(photos, embeddings, self.info().dim)
        rows = [to_row(photo) | {"embedding": vector} for photo, vector in zip(photos, embeddings, strict=True)]
        name = self._written_to()
        with self._milvus.write_lock, translated(self._settings.shown):
            for start in range(0, len(rows), UPSERT_ROWS):
                chunk = rows[start : start + UPSERT_ROWS]
                answer = self._client.upsert(name, chunk, timeout=WRITE_SECONDS)
                if answer["upsert_count"] != len(chunk):
                    raise StoreFailed(f"Milvus confirmed {answer['upsert_count']} of {len(chunk)} rows.")
            if self._settings.is_lite:
                # Lite searches what is not flushed row by row, at 45 to 165 microseconds each.
                self._client.flush(name)

    def flush(self) -> None:
        """Seal what was written, so that a server builds its index now. Call once at the end of a run."""
        name = self._written_to(fresh=True)
        with self._milvus.write_lock, translated(self._settings.shown):
            self._client.flush(name, timeout=WRITE_SECONDS)

    def remove(self, photo_ids: Sequence[str]) -> None:
        """Delete photos; when this returns, Milvus has confirmed. Ids that are not there are passed over."""
        name = self._written_to()
        with self._milvus.write_lock, translated(self._settings.shown):
            for start in range(0, len(photo_ids), UPSERT_ROWS):
                expression = one_of("photo_id", photo_ids[start : start + UPSERT_ROWS])
                self._client.delete(name, filter=expression, timeout=WRITE_SECONDS)

    @contextmanager
    def change_listing(self, listing_id: str) -> Iterator[ListingChange]:
        """Open a listing for one change, beside which this process makes no other: decide within by what is there.

        Raises IngestRunning, see docs/decisions/0020; CollectionReplaced, StoreFailed, StoreUnreachable.
        """
        with self._changing:
            name = self._written_to()
            if self._build and self.builds.live().name != name:
                raise CollectionReplaced(f"The build {name} is not the live one any more.", hint="Try again.")
            if self._claims.is_alive(self.note(CLAIM), time.monotonic()):
                raise IngestRunning(
                    "An ingest writes to this catalogue, and might undo this change.",
                    hint="Try again when it is done: `marketlens ingest status` shows the runs.",
                )
            yield ListingChange(self, listing_id, self._listing_rows(listing_id, **_STRONG))

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Writes that are no ingest's: `lost` and `changed_at` stay true."""
        was_counted = bool(self.note(_PHOTOS))
        if was_counted:
            self.begin_changes()
        yield
        # An ingest that never ended has left `lost` nothing to count from; another process may have by now.
        if was_counted or self.note(_PHOTOS):
            self.end_changes()
        else:
            self.set_note(_CHANGED, str(int(time.time())))

    def ids(self) -> Iterator[tuple[str, str]]:
        """Photo id and listing id of everything that is stored, in no order. As fresh as categories."""
        for rows in self._scan(("photo_id", "listing_id"), batch_size=MAX_TOP_K):
            for row in rows:
                yield row["photo_id"], row["listing_id"]

    def settle(self) -> None:
        """Wait until a scan (`records`, `vectors`, `ids`) sees what was written before: a second on a server."""
        if not self._settings.is_lite:
            time.sleep(_SCAN_LAG_SECONDS)

    def records(self) -> Iterator[list[StoredPhoto]]:
        """Everything that is stored, batch by batch, in no order. As fresh as categories."""
        for rows in self._scan(FIELDS, batch_size=_SCANNED):
            yield [from_row(row) for row in rows]

    def vectors(self) -> Iterator[tuple[list[str], Embeddings]]:
        """Photo ids and embeddings (n, dim) of everything that is stored, batch by batch. As fresh as categories."""
        for rows in self._scan(("photo_id", "embedding"), batch_size=self._vectors_at_once()):
            yield [row["photo_id"] for row in rows], np.asarray([row["embedding"] for row in rows], np.float32)

    def rows(self) -> Iterator[tuple[list[StoredPhoto], Embeddings]]:
        """Everything that is stored, with embeddings (n, dim), batch by batch, in no order. As fresh as categories."""
        for rows in self._scan((*FIELDS, "embedding"), batch_size=self._vectors_at_once()):
            yield [from_row(row) for row in rows], np.asarray([row["embedding"] for row in rows], np.float32)

    def stored(self, photo_ids: Sequence[str], *, strong: bool = False) -> dict[str, StoredPhoto]:
        """Look up photos by id; those that are not there are left out. `strong` as of `count`."""
        return {row["photo_id"]: from_row(row) for row in self._get(photo_ids, FIELDS, strong=strong)}

    def embeddings(self, photo_ids: Sequence[str], *, strong: bool = False) -> Embeddings:
        """Embeddings of these photos, in their order: (n, dim). `strong` as of `count`. Raises NotFound."""
        rows = self._get(photo_ids, ("photo_id", "embedding"), strong=strong)
        found = {row["photo_id"]: row["embedding"] for row in rows}
        if missing := [photo_id for photo_id in photo_ids if photo_id not in found]:
            raise NotFound(f"There is no photo {missing[0]!r}.")
        return np.asarray([found[photo_id] for photo_id in photo_ids], np.float32)

    def photo(self, photo_id: str) -> StoredPhoto:
        """One photo. Raises NotFound."""
        if found := self.stored([photo_id]).get(photo_id):
            return found
        raise NotFound(f"There is no photo {photo_id!r}.")

    def listing_photos(self, listing_id: str) -> list[StoredPhoto]:
        """All photos of a listing, by id. Raises NotFound."""
        if photos := self._listing_rows(listing_id):
            return photos
        raise NotFound(f"There is no listing {listing_id!r}.")

    def count(self, *, strong: bool = False) -> int:
        """How many photos there are; `strong` sees what was just written to a server, by another process as well."""
        return self._count("", **_STRONG if strong else {})

    def begin_changes(self) -> None:
        """Say that what is stored is changing, so that `lost` counts nothing."""
        self.set_note(_PHOTOS, "")

    def end_changes(self, at: int | None = None) -> int:
        """Keep when that was, and how many photos there are now, for `lost` to count from; returns that.

        `at` is in Unix seconds; None for now.
        """
        count = self.count(strong=True)
        moment = int(time.time()) if at is None else at
        self.builds.set_notes(self.info().name, **{_PHOTOS: str(count), _CHANGED: str(moment)})
        return count

    def changed_at(self) -> int:
        """When the last change was complete, in Unix seconds; 0 before the first. One question to the store."""
        return int(self.note(_CHANGED) or 0)

    def lost(self) -> int:
        """How many photos are gone that nobody removed; 0 while changes are made.

        A damaged Lite file can lose rows without a word, see docs/decisions/0009.
        """
        told = self.note(_PHOTOS)
        return max(0, int(told) - self.count()) if told else 0

    def categories(self) -> list[CategorySize]:
        """Size of every root category, largest first.

        Reads two columns of every row: keep the answer for a while. A 2.3 server leaves out the last second's writes.
        """
        photos: Counter[str] = Counter()
        listings: defaultdict[str, set[str]] = defaultdict(set)
        for rows in self._scan(("category", "listing_id"), batch_size=MAX_TOP_K):
            for row in rows:
                photos[row["category"]] += 1
                listings[row["category"]].add(row["listing_id"])
        return [CategorySize(name, len(listings[name]), count) for name, count in photos.most_common()]

    def sample(self, limit: int) -> tuple[list[StoredPhoto], Embeddings]:
        """Up to `limit` photos, evenly spread over the ids, with their embeddings (n, dim). As fresh as categories."""
        ids = sorted(row["photo_id"] for rows in self._scan(("photo_id",), batch_size=MAX_TOP_K) for row in rows)
        step = max(len(ids) / limit, 1.0)
        chosen = [ids[int(position * step)] for position in range(min(limit, len(ids)))]
        photos: list[StoredPhoto] = []
        embeddings = np.empty((len(chosen), self.info().dim), np.float32)
        for start in range(0, len(chosen), UPSERT_ROWS):
            rows = self._get(chosen[start : start + UPSERT_ROWS], (*FIELDS, "embedding"))
            for row in rows:
                embeddings[len(photos)] = row["embedding"]
                photos.append(from_row(row))
        return photos, embeddings[: len(photos)]

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
        """Find the listings, or photos, nearest to any of the queries (n, dim): a full page whenever that many pass.

        The score is the cosine to the nearest query. `seen` says of a listing's id, or a photo's where those are hits,
        whether an earlier page showed it; `vectors` puts the embedding to each hit.
        Raises CollectionMissing, InvalidFilter, StoreUnreachable.
        """
        wanted = Wanted(limit, group_by, min_score, seen)
        return self._pages([queries], where, wanted, exact=exact, vectors=vectors)[0]

    def search_many(
        self,
        searches: Sequence[Embeddings],
        where: SearchFilter,
        limit: int,
        *,
        group_by: GroupBy = "listing",
        exact: bool = False,
        min_score: float = -1.0,
        vectors: bool = False,
    ) -> list[Page]:
        """A page for each search, which has queries (n, dim) of its own, in few calls to Milvus. Raises as `search`."""
        return self._pages(searches, where, Wanted(limit, group_by, min_score), exact=exact, vectors=vectors)

    def facets(
        self,
        queries: Embeddings,
        where: SearchFilter,
        min_score: float = -1.0,
        reach: int = 1_000,
        *,
        exact: bool = False,
    ) -> dict[str, int]:
        """How many listings each category has among the `reach` photos nearest to the queries (n, dim), most first.

        What `where` says of categories and subcategory does not count: these numbers are what choosing another gives.
        `exact`: as far as the index looks, which finds all of IVF_FLAT and FLAT.
        """
        info = self.info()
        free = replace(where, categories=(), subcategory="")
        fields = ("photo_id", "listing_id", "category")
        look = replace(self._first_reach(info, free, 1), photos=min(reach, MAX_TOP_K))
        if look.width == "scan":  # so few pass that a page compares them all
            compared = self._compare(queries, free.expression(), look.photos)
            results = [[(score, to_row(stored)) for score, stored in result] for result in compared]
        else:
            if exact:
                look = replace(look, width="widest")
            results = self._nearest(info, queries, free.expression(), look, fields)
        found = sorted((scored for result in results for scored in result), key=lambda scored: -scored[0])
        nearest = {row["photo_id"]: row for score, row in found if score >= min_score}
        listings = {(row["listing_id"], row["category"]) for row in islice(nearest.values(), reach)}
        return dict(Counter(category for _, category in listings).most_common())

    def size_of(self, where: SearchFilter) -> int:
        """How many photos pass, ids to leave out aside, as it was at most five seconds ago. Raises as `search`.

        A few milliseconds on a server. On Lite it reads every row that passes: 15 s for 50,000.
        """
        expression = replace(where, exclude_listing_ids=(), exclude_photo_ids=()).expression()
        key = (self.info().name, expression)
        with self._sizes_lock:
            known = self._sizes.get(key)
        if known is None:
            known = self._count(expression)
            with self._sizes_lock:
                self._sizes[key] = known
        return known

    def nearest(self, queries: Embeddings, limit: int) -> list[list[Scored]]:
        """Photos nearest to each query (n, dim), neither widened nor grouped: what the index finds by itself."""
        return self._scored(self._nearest(self.info(), queries, "", Reach(limit, "planned"), FIELDS))

    def note(self, key: str) -> str:
        """What `set_note` kept with this collection, never from a cache; '' where there is nothing."""
        return self.builds.note(self.info().name, key)

    def set_note(self, key: str, value: str) -> None:
        """Keep a text with this collection, under a key of its own."""
        self.builds.set_notes(self.info().name, **{key: value})

    @property
    def is_lite(self) -> bool:
        """Whether this is the embedded database, which belongs to one process."""
        return self._settings.is_lite

    def server_version(self) -> str:
        """What answers, as it names itself."""
        with translated(self._settings.shown):
            return str(self._client.get_server_version(timeout=self._settings.timeout))

    def probe(self) -> bool:
        """Run a real search; whether it found anything."""
        query = np.zeros((1, self.info().dim), np.float32)
        query[0, 0] = 1.0
        return bool(self.nearest(query, 1)[0])

    def _pages(
        self, searches: Sequence[Embeddings], where: SearchFilter, wanted: Wanted, *, exact: bool, vectors: bool
    ) -> list[Page]:
        info, expression = self.info(), where.expression()

        def look(queries: Embeddings, reach: Reach) -> list[list[Scored]]:
            if reach.width == "scan":
                return self._compare(queries, expression, reach.photos)
            return self._scored(self._nearest(info, queries, expression, reach, FIELDS))

        reach = self._first_reach(info, where, wanted.limit, exact=exact)
        pages = full_pages(look, searches, wanted, reach, info.index)
        return [self._with_vectors(page) for page in pages] if vectors else pages

    def _first_reach(self, info: CollectionInfo, where: SearchFilter, limit: int, *, exact: bool = False) -> Reach:
        # On Lite, counting what passes takes longer than any search; on a server, both take milliseconds.
        sizes = None if self.is_lite else Sizes(self.size_of(where), self.size_of(SearchFilter()), info.dim)
        return first_reach(limit, info.index, sizes, narrow=where.is_narrow, exact=exact)

    def _with_vectors(self, page: Page) -> Page:
        rows = self._get([hit.photo_id for hit in page.hits], ("photo_id", "embedding"))
        found = {row["photo_id"]: np.asarray(row["embedding"], np.float32) for row in rows}
        return replace(page, hits=[replace(hit, embedding=found.get(hit.photo_id)) for hit in page.hits])

    def _nearest(
        self, info: CollectionInfo, queries: Embeddings, expression: str, reach: Reach, fields: Sequence[str]
    ) -> list[list[tuple[float, dict[str, Any]]]]:
        rounded = is_quantised(info.index)
        results: list[Any] = []
        row_bytes = _ROW_BYTES + 4 * info.dim if rounded else _ROW_BYTES
        step = max(1, _ANSWER_BYTES // (reach.photos * row_bytes))
        with translated(self._settings.shown):
            for start in range(0, len(queries), step):
                results += self._client.search(
                    info.name,
                    queries[start : start + step],
                    filter=expression,
                    limit=reach.photos,
                    output_fields=[*fields, "embedding"] if rounded else list(fields),
                    search_params={"metric_type": "COSINE", "params": search_params(info.index, reach)},
                    consistency_level=self._consistency,
                    timeout=self._settings.timeout,
                )
        if rounded:
            rows = ([hit["entity"] for hit in result] for result in results)
            return [_compared(query, found) for query, found in zip(queries, rows, strict=True)]
        return [[(_cosine(hit["distance"]), hit["entity"]) for hit in result] for result in results]

    @staticmethod
    def _scored(results: list[list[tuple[float, dict[str, Any]]]]) -> list[list[Scored]]:
        return [[(score, from_row(row)) for score, row in result] for result in results]

    def _compare(self, queries: Embeddings, expression: str, limit: int) -> list[list[Scored]]:
        """Compare each query (n, dim) with every vector that passes, here: exact whatever the index; slow for many."""
        rows = self._query(expression, (*FIELDS, "embedding"), limit=FEW_TO_FETCH + 1)
        if len(rows) <= FEW_TO_FETCH:
            return self._scored([_compared(query, rows)[:limit] for query in queries])
        ids: list[str] = []
        parts = [np.empty((len(queries), 0), np.float32)]
        for rows in self._scan(("photo_id", "embedding"), expression, batch_size=UPSERT_ROWS):
            ids += [row["photo_id"] for row in rows]
            parts.append(queries @ np.asarray([row["embedding"] for row in rows], np.float32).T)
        scores = np.concatenate(parts, axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :limit]
        wanted = [ids[column] for column in np.unique(order)]
        stored: dict[str, StoredPhoto] = {}
        for start in range(0, len(wanted), UPSERT_ROWS):
            stored |= self.stored(wanted[start : start + UPSERT_ROWS])
        return [
            [(_cosine(row[column]), stored[ids[column]]) for column in columns if ids[column] in stored]
            for row, columns in zip(scores, order, strict=True)
        ]

    def _listing_rows(self, listing_id: str, **options: str) -> list[StoredPhoto]:
        rows = self._query(one_of("listing_id", [listing_id]), FIELDS, limit=MAX_TOP_K, **options)
        return sorted((from_row(row) for row in rows), key=lambda stored: stored.photo.photo_id)

    def _get(self, photo_ids: Sequence[str], fields: Sequence[str], *, strong: bool = False) -> list[dict[str, Any]]:
        if not photo_ids:
            return []
        # Not client.get, which puts ids between single quotes as they are.
        options = _STRONG if strong else {}
        return self._query(one_of("photo_id", photo_ids), fields, limit=len(photo_ids), **options)

    def _count(self, expression: str, **options: str) -> int:
        return int(self._query(expression, ("count(*)",), **options)[0]["count(*)"])

    def _query(self, expression: str, fields: Sequence[str], **options: int | str) -> list[dict[str, Any]]:
        with translated(self._settings.shown):
            rows: list[dict[str, Any]] = self._client.query(
                self.info().name,
                filter=expression,
                output_fields=list(fields),
                **{"consistency_level": self._consistency, "timeout": self._settings.timeout, **options},
            )
        return rows

    def _vectors_at_once(self) -> int:
        return min(_VECTORS, _ANSWER_BYTES // (_ROW_BYTES + 4 * self.info().dim))

    def _scan(self, fields: Sequence[str], expression: str = "", *, batch_size: int) -> Iterator[list[dict[str, Any]]]:
        with translated(self._settings.shown):
            iterator = self._client.query_iterator(
                self.info().name,
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

    def _written_to(self, *, fresh: bool = False) -> str:
        info = self.info(fresh=fresh)
        if self._ensured not in {"", info.name}:
            raise CollectionReplaced(
                f"The build {info.name} became the live one while this wrote to {self._ensured}.",
                hint="Run it again: what the new build lacks is written to it.",
            )
        return info.name


def _open_again(
    milvus: MilvusSettings, index: IndexSettings, consistency: Consistency, build: str, ensured: str
) -> PhotoCollection:
    collection = PhotoCollection(Milvus.connect(milvus, index), index, consistency, build)
    collection._ensured = ensured
    return collection


def _cosine(score: float) -> float:
    # Rounding makes the cosine of a photo with itself a little more than 1 now and then.
    return min(max(float(score), -1.0), 1.0)


def _compared(query: Embeddings, rows: list[dict[str, Any]]) -> list[tuple[float, dict[str, Any]]]:
    """Score rows by the vectors themselves; nearest first."""
    scored = [(_cosine(np.dot(query, np.asarray(row["embedding"], np.float32))), row) for row in rows]
    return sorted(scored, key=lambda one: -one[0])

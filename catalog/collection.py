"""The photos of one collection: written, looked up, searched."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from cachetools import TTLCache

from catalog.builds import Builds, CollectionInfo
from catalog.errors import CollectionMissing, CollectionReplaced, ModelMismatch, NotFound, StoreFailed
from catalog.filters import SearchFilter, one_of
from catalog.grouping import Scored, best_per_photo, group_by_listing
from catalog.index import Embeddings, check_embeddings, search_params
from catalog.listing import Hit, StoredPhoto
from catalog.milvus import WRITE_SECONDS, Milvus, no_catalogue, translated
from catalog.records import FIELDS, from_row, to_row
from catalog.settings import BulkSettings, IndexSettings, MilvusSettings

if TYPE_CHECKING:
    from catalog.bulk import BulkLoad

__all__ = ["CategorySize", "CollectionInfo", "Consistency", "PhotoCollection", "no_catalogue"]

Consistency = Literal["Bounded", "Session"]

MAX_TOP_K = 16_384
UPSERT_ROWS = 1_000  # a message must stay under 64 MiB; 1,000 rows of 2,048 dimensions are 8
_PHOTOS = "photos"  # the property that says how many there were after the last change
_RECORDS = 4_000  # without their embeddings
_INFO_SECONDS = 2.0
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
        for rows in self._scan(FIELDS, batch_size=_RECORDS):
            yield [from_row(row) for row in rows]

    def vectors(self) -> Iterator[tuple[list[str], Embeddings]]:
        """Photo ids and embeddings (n, dim) of everything that is stored, batch by batch. As fresh as categories."""
        for rows in self._scan(("photo_id", "embedding"), batch_size=UPSERT_ROWS):
            yield [row["photo_id"] for row in rows], np.asarray([row["embedding"] for row in rows], np.float32)

    def stored(self, photo_ids: Sequence[str]) -> dict[str, StoredPhoto]:
        """Look up photos by id; those that are not there are left out."""
        return {row["photo_id"]: from_row(row) for row in self._get(photo_ids, FIELDS)}

    def embeddings(self, photo_ids: Sequence[str]) -> Embeddings:
        """Embeddings of these photos, in their order: (n, dim). Raises NotFound."""
        found = {row["photo_id"]: row["embedding"] for row in self._get(photo_ids, ("photo_id", "embedding"))}
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
        rows = self._query(one_of("listing_id", [listing_id]), FIELDS, limit=MAX_TOP_K)
        if not rows:
            raise NotFound(f"There is no listing {listing_id!r}.")
        return sorted((from_row(row) for row in rows), key=lambda stored: stored.photo.photo_id)

    def count(self) -> int:
        """How many photos there are."""
        return int(self._query("", ("count(*)",))[0]["count(*)"])

    def begin_changes(self) -> None:
        """Say that what is stored is changing, so that `lost` counts nothing."""
        self.set_note(_PHOTOS, "")

    def end_changes(self) -> int:
        """Keep how many photos there are now, for `lost` to count from; returns that."""
        count = self.count()
        self.set_note(_PHOTOS, str(count))
        return count

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

    def search(self, queries: Embeddings, where: SearchFilter, limit: int) -> list[Hit]:
        """Find the listings nearest to any of the queries (n, dim): a full page whenever that many pass the filter.

        Fetches more photos than listings are wanted and widens until the page is full or nothing is left.
        Raises CollectionMissing, InvalidFilter, StoreUnreachable.
        """
        info = self.info()
        expression = where.expression()
        wanted = min(max(4 * limit, 64), MAX_TOP_K)
        exact = where.is_narrow
        while True:
            results = self._nearest(info, queries, expression, wanted, exact=exact)
            hits = group_by_listing(best_per_photo(scored for result in results for scored in result), limit)
            cut_short = any(len(result) == wanted for result in results)
            if len(hits) == limit or (exact and (not cut_short or wanted == MAX_TOP_K)):
                return hits
            # Few results: either one listing's photos crowd the neighbourhood, or the index looked into too few cells.
            wanted = min(4 * wanted, MAX_TOP_K) if cut_short else wanted
            exact = exact or not cut_short or wanted == MAX_TOP_K

    def nearest(self, queries: Embeddings, limit: int) -> list[list[Scored]]:
        """Photos nearest to each query (n, dim), neither widened nor grouped: what the index finds by itself."""
        return self._nearest(self.info(), queries, "", limit, exact=False)

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
        return bool(self._nearest(self.info(), query, "", 1, exact=False)[0])

    def _nearest(
        self, info: CollectionInfo, queries: Embeddings, expression: str, limit: int, *, exact: bool
    ) -> list[list[Scored]]:
        with translated(self._settings.shown):
            results = self._client.search(
                info.name,
                queries,
                filter=expression,
                limit=limit,
                output_fields=list(FIELDS),
                search_params={"metric_type": "COSINE", "params": search_params(info.index, limit, exact=exact)},
                consistency_level=self._consistency,
                timeout=self._settings.timeout,
            )
        # Rounding makes the cosine of a photo with itself a little more than 1 now and then.
        return [[(min(float(hit["distance"]), 1.0), from_row(hit["entity"])) for hit in result] for result in results]

    def _get(self, photo_ids: Sequence[str], fields: Sequence[str]) -> list[dict[str, Any]]:
        # Not client.get, which puts ids between single quotes as they are.
        return self._query(one_of("photo_id", photo_ids), fields, limit=len(photo_ids)) if photo_ids else []

    def _query(self, expression: str, fields: Sequence[str], **options: int) -> list[dict[str, Any]]:
        with translated(self._settings.shown):
            rows: list[dict[str, Any]] = self._client.query(
                self.info().name,
                filter=expression,
                output_fields=list(fields),
                consistency_level=self._consistency,
                timeout=self._settings.timeout,
                **options,
            )
        return rows

    def _scan(self, fields: Sequence[str], *, batch_size: int) -> Iterator[list[dict[str, Any]]]:
        with translated(self._settings.shown):
            iterator = self._client.query_iterator(
                self.info().name,
                batch_size=batch_size,
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

"""Where photos live: the only module that knows Milvus, and where Lite, a 2.3 server and newer ones differ."""

import json
import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import grpc
import numpy as np
from cachetools import TTLCache
from milvus_lite.server_manager import server_manager_instance
from pymilvus import DataType, MilvusClient, MilvusException

from catalog.errors import (
    CollectionMissing,
    InvalidSetting,
    ModelMismatch,
    NotFound,
    StoreFailed,
    StoreLocked,
    StoreUnreachable,
)
from catalog.exports import MAX_ID_BYTES, MAX_TEXT_BYTES
from catalog.filters import SearchFilter, one_of
from catalog.grouping import Scored, best_per_photo, group_by_listing
from catalog.index import LITE_INDEXES, Embeddings, build_params, check_embeddings, search_params
from catalog.listing import Hit, StoredPhoto
from catalog.lite import drop_index_files, lock_holder
from catalog.records import FIELDS, FORMAT_VERSION, from_row, to_row
from catalog.settings import IndexSettings, MilvusSettings

Consistency = Literal["Bounded", "Session"]

MAX_TOP_K = 16_384
UPSERT_ROWS = 1_000  # a message must stay under 64 MiB; 1,000 rows of 2,048 dimensions are 8
_NOT_FOUND_CODES = {100, 1600}  # collection, alias
_WRITE_TIMEOUT = 120.0
_INFO_SECONDS = 2.0
# gRPC waits up to two minutes between attempts, and a server that is back would be thought away for as long.
_RECONNECT_SOON = {"grpc.initial_reconnect_backoff_ms": 200, "grpc.max_reconnect_backoff_ms": 2_000}

# Every error is translated below; these would print a traceback for each as well.
for noisy in ("pymilvus", "milvus_lite"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """The collection behind the alias: which model made it, with which index. `build` is when, in UTC."""

    name: str
    fingerprint: str
    build: str
    dim: int
    index: IndexSettings


@dataclass(frozen=True, slots=True)
class CategorySize:
    """How much one root category holds."""

    category: str
    listings: int
    photos: int


class PhotoCollection:
    """The photos of one catalogue, behind one alias. Safe for threads; Lite allows one process at a time."""

    def __init__(self, client: MilvusClient, milvus: MilvusSettings, index: IndexSettings, consistency: Consistency):
        self._client = client
        self._milvus = milvus
        self._index = index
        self._consistency = consistency
        self._write_lock = threading.Lock()
        self._info_lock = threading.Lock()
        self._info: TTLCache[str, CollectionInfo] = TTLCache(1, _INFO_SECONDS)
        self._loaded: set[str] = set()

    @classmethod
    def connect(
        cls, milvus: MilvusSettings, index: IndexSettings, *, consistency: Consistency = "Bounded"
    ) -> "PhotoCollection":
        """Open the store. Raises StoreUnreachable, StoreLocked, InvalidSetting.

        `Session` sees this process's own last writes, which a server's default, `Bounded`, does not; it costs 3 ms.
        """
        if milvus.is_lite:
            return cls(_open_lite(milvus, index), milvus, index, consistency)
        with _translated(milvus.shown):
            client = MilvusClient(
                milvus.uri,
                token=milvus.token.get_secret_value(),
                timeout=milvus.timeout,
                grpc_options=_RECONNECT_SOON,
            )
        return cls(client, milvus, index, consistency)

    def close(self) -> None:
        """Give the store back; on Lite, another process can open it then."""
        self._client.close()
        if self._milvus.is_lite:
            # close() alone keeps the lock until the process ends.
            server_manager_instance.release_server(self._milvus.uri)

    def info(self) -> CollectionInfo:
        """Describe the live collection. Raises CollectionMissing."""
        alias = self._milvus.alias
        with self._info_lock:
            if known := self._info.get(alias):
                return known
            with _translated(self._milvus.shown):
                name = self._client.describe_alias(alias, timeout=self._milvus.timeout)["collection_name"]
                described = self._client.describe_collection(name, timeout=self._milvus.timeout)
            info = _info_of(name, described)
            if name not in self._loaded:
                self._load(name)
                self._loaded.add(name)
            self._info[alias] = info
            return info

    def require(self, fingerprint: str) -> CollectionInfo:
        """Describe the live collection. Raises ModelMismatch unless this model made it; CollectionMissing."""
        info = self.info()
        if info.fingerprint != fingerprint:
            raise ModelMismatch(
                f"The collection {info.name} in {self._milvus.shown} was made by the model {info.fingerprint[:12]}, "
                f"but the model in use is {fingerprint[:12]}. Embeddings of two models cannot be compared.",
                hint="Use the model that made it (--model FOLDER), or give this one a database of its own (--uri).",
            )
        return info

    def ensure(self, fingerprint: str, dim: int) -> CollectionInfo:
        """Create the collection and its alias unless they are there. Raises ModelMismatch."""
        try:
            return self.require(fingerprint)
        except CollectionMissing:
            pass
        build = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        name = f"{self._milvus.alias}_{fingerprint[:12]}_{build}"
        properties = {
            "marketlens.format": str(FORMAT_VERSION),
            "marketlens.fingerprint": fingerprint,
            "marketlens.build": build,
            "marketlens.index": self._index.model_dump_json(),
        }
        with self._write_lock, _translated(self._milvus.shown):
            self._client.create_collection(
                name, schema=_schema(dim), index_params=_index_params(self._index), properties=properties
            )
            self._client.create_alias(name, self._milvus.alias)
        return self.info()

    def upsert(self, photos: Sequence[StoredPhoto], embeddings: Embeddings) -> None:
        """Write photos with their embeddings (n, dim), unit length; an id that is there already is replaced.

        When this returns, Milvus has confirmed every row. Raises StoreFailed, StoreUnreachable.
        """
        check_embeddings(photos, embeddings, self.info().dim)
        rows = [to_row(photo) | {"embedding": vector} for photo, vector in zip(photos, embeddings, strict=True)]
        with self._write_lock, _translated(self._milvus.shown):
            for start in range(0, len(rows), UPSERT_ROWS):
                chunk = rows[start : start + UPSERT_ROWS]
                answer = self._client.upsert(self.info().name, chunk, timeout=_WRITE_TIMEOUT)
                if answer["upsert_count"] != len(chunk):
                    raise StoreFailed(f"Milvus confirmed {answer['upsert_count']} of {len(chunk)} rows.")
            if self._milvus.is_lite:
                # Lite searches what is not flushed row by row, at 45 to 165 microseconds each.
                self._client.flush(self.info().name)

    def flush(self) -> None:
        """Seal what was written, so that a server builds its index now. Call once at the end of a run."""
        with self._write_lock, _translated(self._milvus.shown):
            self._client.flush(self.info().name, timeout=_WRITE_TIMEOUT)

    def remove(self, photo_ids: Sequence[str]) -> None:
        """Delete photos; when this returns, Milvus has confirmed. Ids that are not there are passed over."""
        with self._write_lock, _translated(self._milvus.shown):
            for start in range(0, len(photo_ids), UPSERT_ROWS):
                expression = one_of("photo_id", photo_ids[start : start + UPSERT_ROWS])
                self._client.delete(self.info().name, filter=expression, timeout=_WRITE_TIMEOUT)

    def ids(self) -> Iterator[tuple[str, str]]:
        """Photo id and listing id of everything that is stored, in no order. As fresh as categories."""
        for rows in self._scan(("photo_id", "listing_id"), batch_size=MAX_TOP_K):
            for row in rows:
                yield row["photo_id"], row["listing_id"]

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

    def note(self, name: str) -> str:
        """A note that was kept with the live collection; '' where there is none. Never from a cache."""
        with _translated(self._milvus.shown):
            described = self._client.describe_collection(self.info().name, timeout=self._milvus.timeout)
        return str(described.get("properties", {}).get(name, ""))

    def set_note(self, name: str, value: str) -> None:
        """Keep a note with the live collection."""
        with _translated(self._milvus.shown):
            self._client.alter_collection_properties(self.info().name, {name: value}, timeout=self._milvus.timeout)

    @property
    def is_lite(self) -> bool:
        """Whether this is the embedded database, which belongs to one process."""
        return self._milvus.is_lite

    def server_version(self) -> str:
        """What answers, as it names itself."""
        with _translated(self._milvus.shown):
            return str(self._client.get_server_version(timeout=self._milvus.timeout))

    def probe(self) -> bool:
        """Run a real search; whether it found anything."""
        query = np.zeros((1, self.info().dim), np.float32)
        query[0, 0] = 1.0
        return bool(self._nearest(self.info(), query, "", 1, exact=False)[0])

    def _nearest(
        self, info: CollectionInfo, queries: Embeddings, expression: str, limit: int, *, exact: bool
    ) -> list[list[Scored]]:
        with _translated(self._milvus.shown):
            results = self._client.search(
                info.name,
                queries,
                filter=expression,
                limit=limit,
                output_fields=list(FIELDS),
                search_params={"metric_type": "COSINE", "params": search_params(info.index, limit, exact=exact)},
                consistency_level=self._consistency,
                timeout=self._milvus.timeout,
            )
        # Rounding makes the cosine of a photo with itself a little more than 1 now and then.
        return [[(min(float(hit["distance"]), 1.0), from_row(hit["entity"])) for hit in result] for result in results]

    def _get(self, photo_ids: Sequence[str], fields: Sequence[str]) -> list[dict[str, Any]]:
        # Not client.get, which puts ids between single quotes as they are.
        return self._query(one_of("photo_id", photo_ids), fields, limit=len(photo_ids)) if photo_ids else []

    def _query(self, expression: str, fields: Sequence[str], **options: int) -> list[dict[str, Any]]:
        with _translated(self._milvus.shown):
            rows: list[dict[str, Any]] = self._client.query(
                self.info().name,
                filter=expression,
                output_fields=list(fields),
                consistency_level=self._consistency,
                timeout=self._milvus.timeout,
                **options,
            )
        return rows

    def _scan(self, fields: Sequence[str], *, batch_size: int) -> Iterator[list[dict[str, Any]]]:
        with _translated(self._milvus.shown):
            iterator = self._client.query_iterator(
                self.info().name,
                batch_size=batch_size,
                output_fields=list(fields),
                consistency_level=self._consistency,
                timeout=_WRITE_TIMEOUT,
            )
            try:
                while rows := iterator.next():
                    yield rows
            finally:
                iterator.close()

    def _load(self, name: str) -> None:
        try:
            with _translated(self._milvus.shown):
                self._client.load_collection(name, timeout=_WRITE_TIMEOUT)
        except StoreFailed:
            if not self._milvus.is_lite or not drop_index_files(Path(self._milvus.uri)):
                raise
            with _translated(self._milvus.shown):
                self._client.load_collection(name, timeout=_WRITE_TIMEOUT)


def _open_lite(milvus: MilvusSettings, index: IndexSettings) -> MilvusClient:
    if index.type not in LITE_INDEXES:
        # Lite would accept the name, search by brute force, and fail at the next load.
        raise InvalidSetting(
            f"Milvus Lite has no index of type {index.type}.",
            hint=f"Set MARKETLENS_INDEX__TYPE to one of {', '.join(sorted(LITE_INDEXES))}, or use a Milvus server.",
        )
    path = Path(milvus.uri)
    try:
        if path.is_file():
            raise StoreFailed(
                f"{path} is a file, but a Milvus Lite database is a folder.", hint="Choose another --uri."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        return MilvusClient(milvus.uri)
    except (MilvusException, OSError) as error:
        holder = lock_holder(path)
        if holder is not None:
            raise StoreLocked(
                f"The database {path} is in use by process {holder}; Milvus Lite serves one process at a time.",
                hint=f"Stop process {holder} (a `marketlens serve` or `up`?), or run a Milvus server and set --uri.",
            ) from error
        raise StoreFailed(
            f"The database {path} could not be opened: {_text_of(error)}",
            hint="Is the folder writable, and not in use by another process? `marketlens doctor` looks closer.",
        ) from error


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise _unreachable(uri) from error
    except MilvusException as error:
        text = _text_of(error)
        if error.code in _NOT_FOUND_CODES:
            raise no_catalogue(uri) from error
        if any(sign in text for sign in ("Fail connecting", "UNAVAILABLE", "DEADLINE_EXCEEDED", "Retry timeout")):
            raise _unreachable(uri) from error
        raise StoreFailed(f"Milvus at {uri} refused: {text}") from error


def no_catalogue(uri: str) -> CollectionMissing:
    """Nothing has been ingested here yet."""
    return CollectionMissing(f"There is no catalogue in {uri} yet.", hint="Ingest one first: marketlens ingest EXPORT")


def _unreachable(uri: str) -> StoreUnreachable:
    return StoreUnreachable(
        f"No Milvus answers at {uri}.", hint="Is it running, and is the address (MARKETLENS_MILVUS__URI, --uri) right?"
    )


def _text_of(error: Exception) -> str:
    return str(getattr(error, "message", "") or error)


def _info_of(name: str, described: dict[str, Any]) -> CollectionInfo:
    properties = described.get("properties", {})
    if properties.get("marketlens.format") != str(FORMAT_VERSION):
        raise StoreFailed(
            f"The collection {name} was not made by this version of marketlens.",
            hint="Choose another alias or database (MARKETLENS_MILVUS__ALIAS, --uri).",
        )
    dim = next(field["params"]["dim"] for field in described["fields"] if field["name"] == "embedding")
    index = IndexSettings.model_validate(json.loads(properties["marketlens.index"]))
    return CollectionInfo(name, properties["marketlens.fingerprint"], properties["marketlens.build"], int(dim), index)


def _schema(dim: int) -> Any:
    schema = MilvusClient.create_schema(enable_dynamic_field=False)
    schema.add_field("photo_id", DataType.VARCHAR, is_primary=True, max_length=MAX_ID_BYTES)
    schema.add_field("listing_id", DataType.VARCHAR, max_length=MAX_ID_BYTES)
    # Not a partition key: docs/decisions/0001-no-partition-key.md
    for name in ("category", "subcategory", "title", "currency", "location", "photo_uri"):
        schema.add_field(name, DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
    schema.add_field("sha256", DataType.VARCHAR, max_length=64)
    schema.add_field("source_tag", DataType.VARCHAR, max_length=MAX_ID_BYTES)
    schema.add_field("price", DataType.DOUBLE)
    schema.add_field("ingested_at", DataType.INT64)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=dim)
    return schema


def _index_params(index: IndexSettings) -> Any:
    params = MilvusClient.prepare_index_params()
    build = build_params(index)
    # Twice, because Lite reads the inner ones only and the server the outer ones.
    params.add_index("embedding", index_type=index.type, metric_type="COSINE", params={**build, "params": build})
    return params

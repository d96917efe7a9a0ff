"""Builds: the collections of one catalogue, and the alias that points at the live one.

A build is a collection `<alias>_<fingerprint>_<build id>`; its metadata is kept in the collection's properties.
"""

import json
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

from pymilvus import DataType, MilvusClient, MilvusException

from catalog.errors import BuildRefused, CollectionMissing, NotFound, StoreFailed
from catalog.settings import IndexSettings
from catalog.store.index_params import build_params
from catalog.store.milvus import NOT_FOUND_CODES, WRITE_SECONDS, Milvus, no_catalogue, translate_errors
from catalog.store.records import FORMAT_VERSION
from catalog.text import MAX_ID_BYTES, MAX_TEXT_BYTES

# "building" is filled from the live collection, "restoring" from a backup; a killed restore starts over.
State = Literal["building", "restoring", "ready"]

# A server needs 314 s for HNSW over 100,000 photos, 847 s for IVF_PQ; some index types never finish.
_INDEX_SECONDS = 3_600.0
_INDEX_POLL_SECONDS = 0.5
_BUILD_ID_FORMAT = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection, the model that made it and its index. `build` is the creation time in UTC and orders builds.

    `model` is the folder of the model ('' if unknown), `previous` the build that was live before this one.
    """

    name: str
    fingerprint: str
    build: str
    dim: int
    index: IndexSettings
    model: str = ""
    state: State = "ready"
    previous: str = ""


class Builds:
    """The builds behind one alias. Safe for threads."""

    def __init__(self, milvus: Milvus) -> None:
        self._milvus = milvus
        self._client = milvus.client
        self.alias = milvus.settings.alias
        self._uri = milvus.settings.uri_without_password
        self._seconds = milvus.settings.timeout

    def create(self, fingerprint: str, dim: int, index: IndexSettings, *, model: str, state: State) -> CollectionInfo:
        """Create an empty collection; no alias points at it yet. Raises StoreFailed, StoreUnreachable."""
        build = self._next_id()
        name = f"{self.alias}_{fingerprint[:12]}_{build}"
        properties = {
            "marketlens.format": str(FORMAT_VERSION),
            "marketlens.fingerprint": fingerprint,
            "marketlens.build": build,
            "marketlens.index": index.model_dump_json(),
            "marketlens.model": model,
            "marketlens.state": state,
        }
        with self._milvus.write_lock, translate_errors(self._uri):
            self._client.create_collection(
                name, schema=schema_of(dim), index_params=_index_params(index), properties=properties
            )
        return self.describe(name)

    def create_live(self, fingerprint: str, dim: int, index: IndexSettings, *, model: str) -> None:
        """Create the first collection of a catalogue, and its alias."""
        created = self.create(fingerprint, dim, index, model=model, state="ready")
        with self._milvus.write_lock, translate_errors(self._uri):
            self._client.create_alias(created.name, self.alias)

    def describe(self, name: str) -> CollectionInfo:
        """Describe a collection. Raises CollectionMissing; StoreFailed if another version of marketlens made it."""
        with translate_errors(self._uri):
            return _info_of(name, self._client.describe_collection(name, timeout=self._seconds))

    def live(self) -> CollectionInfo:
        """Describe the collection that the alias points at. Raises CollectionMissing."""
        with translate_errors(self._uri):
            try:
                name = self._client.describe_alias(self.alias, timeout=self._seconds)["collection_name"]
            except MilvusException as error:
                if error.code in NOT_FOUND_CODES:
                    raise no_catalogue(self._uri) from error
                raise
        return self.describe(name)

    def all(self) -> list[CollectionInfo]:
        """List every build, newest first."""
        build_name = re.compile(re.escape(self.alias) + r"_[0-9a-f]{12}_\d{8}T\d+Z")
        with translate_errors(self._uri):
            names = self._client.list_collections(timeout=self._seconds)
        infos = [self.describe(name) for name in names if build_name.fullmatch(name)]
        return sorted(infos, key=lambda info: (info.build, info.name), reverse=True)

    def find(self, name: str) -> CollectionInfo:
        """Find a build by its collection name or its build id. Raises NotFound."""
        for info in self.all():
            if name in {info.name, info.build}:
                return info
        raise NotFound(f"There is no build {name!r}.", hint="marketlens index status lists the builds.")

    def newest(self) -> CollectionInfo:
        """Return the newest build made after the live one, except one that a restore is filling. Raises NotFound."""
        live = self.live()
        if newer := [info for info in self.all() if info.build > live.build and info.state != "restoring"]:
            return newer[0]
        raise NotFound(
            f"There is no build newer than the live one, {live.name}.", hint="Make one: marketlens index build"
        )

    def previous(self) -> CollectionInfo:
        """Return the build that was live before the current one: the target of a rollback. Raises NotFound."""
        live = self.live()
        try:
            if live.previous:
                return self.describe(live.previous)
        except CollectionMissing:
            pass
        reason = f": {live.previous} was dropped" if live.previous else ""
        raise NotFound(
            f"There is no build that was live before {live.name}{reason}.", hint="marketlens index promote BUILD"
        )

    def require_promotable(self, build: CollectionInfo) -> None:
        """Raise BuildRefused if the build is live or not complete."""
        if build.name == self.live().name:
            raise BuildRefused(f"{build.name} is already live.")
        if build.state != "ready":
            raise BuildRefused(
                f"{build.name} is not complete.", hint="Resume it first: marketlens index build --resume"
            )

    def promote(self, build: CollectionInfo) -> None:
        """Point the alias at this build, in one step. Raises BuildRefused as `require_promotable` does.

        The caller, `index_builds.promotion`, first compares its photos with the live ones.
        """
        self.require_promotable(build)
        # Before the alias moves: after a kill in between, the next promotion overwrites this note.
        self.set_notes(build.name, previous=self.live().name)
        self._point_alias(build.name)

    def go_live(self, build: CollectionInfo) -> None:
        """Promote this build, or make it the first live one of a catalogue. Raises BuildRefused as `promote` does."""
        try:
            self.promote(build)
        except CollectionMissing:
            self._milvus.load(build.name)
            with self._milvus.write_lock, translate_errors(self._uri):
                self._client.create_alias(build.name, self.alias)

    def rollback(self) -> CollectionInfo:
        """Point the alias at the previously live build, and return that build. Raises NotFound."""
        previous = self.previous()
        self._point_alias(previous.name)
        return previous

    def require_droppable(self, build: CollectionInfo, *, force: bool) -> None:
        """Raise BuildRefused for the live build and, unless `force`, for the target of a rollback."""
        try:
            live = self.live()
        except CollectionMissing:
            return
        if build.name == live.name:
            raise BuildRefused(f"{build.name} is live.", hint="Promote another one first.")
        if build.name == live.previous and not force:
            raise BuildRefused(
                f"{build.name} is the target of a rollback.",
                hint="--force drops it; after that, rollback is impossible.",
            )

    def drop(self, build: CollectionInfo, *, force: bool = False) -> None:
        """Delete a build permanently. Raises BuildRefused as `require_droppable` does."""
        self.require_droppable(build, force=force)  # Milvus itself would drop even the live collection
        with self._milvus.write_lock, translate_errors(self._uri):
            self._client.drop_collection(build.name, timeout=WRITE_SECONDS)

    def rows(self, name: str) -> int:
        """Return the number of photos by Milvus' statistics: does not load the build, may count deleted photos."""
        with translate_errors(self._uri):
            return int(self._client.get_collection_stats(name, timeout=self._seconds)["row_count"])

    def finish(self, name: str) -> None:
        """Wait until every row is in the index, then mark the build as ready. Raises StoreFailed after an hour."""
        self.wait_for_index(name)
        self.set_notes(name, state="ready")

    def wait_for_index(self, name: str) -> None:
        """Wait until every row is in the index. Raises StoreFailed after an hour."""
        deadline = time.monotonic() + _INDEX_SECONDS
        while self._rows_not_indexed(name):
            if time.monotonic() > deadline:
                raise StoreFailed(f"Milvus has not indexed {name} after {_INDEX_SECONDS / 60:.0f} minutes.")
            time.sleep(_INDEX_POLL_SECONDS)

    def reopen(self, name: str) -> None:
        """Mark a build as unfinished while it is being changed."""
        self.set_notes(name, state="building")

    def note_model(self, name: str, folder: str) -> None:
        """Save the folder of the model that made this collection."""
        self.set_notes(name, model=folder)

    def note(self, name: str, key: str) -> str:
        """Return a property of a collection; '' if it has none. Raises CollectionMissing."""
        with translate_errors(self._uri):
            described = self._client.describe_collection(name, timeout=self._seconds)
        return str(described.get("properties", {}).get(f"marketlens.{key}", ""))

    def set_notes(self, name: str, **properties: str) -> None:
        """Set properties of a collection; its other properties stay unchanged."""
        named = {f"marketlens.{key}": value for key, value in properties.items()}
        with self._milvus.write_lock, translate_errors(self._uri):
            self._client.alter_collection_properties(name, properties=named, timeout=self._seconds)

    def _next_id(self) -> str:
        """Return the current time in microseconds; always later than every build, even if the clock was set back."""
        build_name = re.compile(re.escape(self.alias) + r"_[0-9a-f]{12}_(\d{8}T\d{12}Z)")
        with translate_errors(self._uri):
            names = self._client.list_collections(timeout=self._seconds)
        created = [
            datetime.strptime(match[1], _BUILD_ID_FORMAT).replace(tzinfo=UTC)
            for name in names
            if (match := build_name.fullmatch(name))
        ]
        now = datetime.now(UTC)
        return max([now, *(moment + timedelta(microseconds=1) for moment in created)]).strftime(_BUILD_ID_FORMAT)

    def _rows_not_indexed(self, name: str) -> int:
        with translate_errors(self._uri):
            index = self._client.describe_index(name, "embedding", timeout=self._seconds)
        return int(index["pending_index_rows"])

    def _point_alias(self, name: str) -> None:
        # Load first, so that the first search finds it searchable.
        self._milvus.load(name)
        with self._milvus.write_lock, translate_errors(self._uri):
            self._client.alter_alias(name, self.alias, timeout=self._seconds)


def _info_of(name: str, described: dict[str, Any]) -> CollectionInfo:
    properties = described.get("properties", {})
    if properties.get("marketlens.format") != str(FORMAT_VERSION):
        raise StoreFailed(
            f"The collection {name} was not made by this version of marketlens.",
            hint="Choose another alias or database (MARKETLENS_MILVUS__ALIAS, --uri).",
        )
    dim = next(field["params"]["dim"] for field in described["fields"] if field["name"] == "embedding")
    return CollectionInfo(
        name,
        fingerprint=properties["marketlens.fingerprint"],
        build=properties["marketlens.build"],
        dim=int(dim),
        index=IndexSettings.model_validate(json.loads(properties["marketlens.index"])),
        model=properties.get("marketlens.model", ""),
        state=cast(State, properties.get("marketlens.state", "ready")),
        previous=properties.get("marketlens.previous", ""),
    )


def schema_of(dim: int) -> Any:
    """Return the schema of a collection with embeddings of `dim` numbers."""
    schema = MilvusClient.create_schema(enable_dynamic_field=False)
    schema.add_field("photo_id", DataType.VARCHAR, is_primary=True, max_length=MAX_ID_BYTES)
    schema.add_field("listing_id", DataType.VARCHAR, max_length=MAX_ID_BYTES)
    # Not a partition key: docs/decisions/0001-no-partition-key.md
    for name in ("category", "subcategory", "title", "currency", "location", "photo_uri"):
        schema.add_field(name, DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
    schema.add_field("sha256", DataType.VARCHAR, max_length=64)
    schema.add_field("source_tag", DataType.VARCHAR, max_length=MAX_ID_BYTES)
    schema.add_field("price", DataType.DOUBLE)
    schema.add_field("listed_at", DataType.INT64)
    schema.add_field("ingested_at", DataType.INT64)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=dim)
    return schema


def _index_params(index: IndexSettings) -> Any:
    params = MilvusClient.prepare_index_params()
    build = build_params(index)
    # Twice, because Lite reads only the inner ones and a server the outer ones.
    params.add_index("embedding", index_type=index.type, metric_type="COSINE", params={**build, "params": build})
    return params

"""The connection to Milvus: open Lite or a server, and translate the errors of both."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from milvus_lite.server_manager import server_manager_instance
from pymilvus import MilvusClient, MilvusException

from catalog.errors import CollectionMissing, InvalidSetting, StoreFailed, StoreLocked, StoreUnreachable
from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.index_params import LITE_INDEXES
from catalog.store.lite_files import drop_index_files, lock_holder

WRITE_SECONDS = 120.0
# Error codes for a missing collection and a missing alias; Lite uses the first for both.
NOT_FOUND_CODES = {100, 1600}
# Hints by a substring of the error message.
_HINTS = {
    "No space left": "Free disk space where Milvus stores its data, then run the command again.",
    "Read-only file system": "Make the place where Milvus stores its data writable, then run the command again.",
}
# Parts of the error messages if no server answers, or one that has just started is still loading.
_UNREACHABLE_SIGNS = (
    "Fail connecting",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "Retry timeout",
    # from the REST API of import jobs
    "Max retries exceeded",
    "Read timed out",
    # from a server that has just started
    "not loaded",
    "not fully loaded",
    "node not match",
    "service not ready",
    "no available shard",
    "channel not available",
)
# By default gRPC waits up to two minutes between attempts: a server that is back would seem unreachable for that long.
_RECONNECT_SOON = {"grpc.initial_reconnect_backoff_ms": 200, "grpc.max_reconnect_backoff_ms": 2_000}
# pymilvus sends a keepalive ping every 10 seconds. Milvus Lite runs in this process; after some minutes of pings
# without data, its server takes them for abuse and closes the connection, and a long call starts from the beginning.
_NO_PINGS = {"grpc.keepalive_time_ms": 2**31 - 1}


# Every error is translated below; these loggers would also print a traceback for each.
for noisy in ("pymilvus", "milvus_lite"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL)


class Milvus:
    """A connection. Hold `write_lock` during every write: concurrent writes make Lite lose rows."""

    def __init__(self, client: MilvusClient, settings: MilvusSettings) -> None:
        self.client = client
        self.settings = settings
        self.write_lock = threading.Lock()
        self._loading = threading.Lock()
        self._loaded: set[str] = set()

    @classmethod
    def connect(cls, settings: MilvusSettings, index: IndexSettings) -> "Milvus":
        """Open the store. Raises StoreUnreachable, StoreLocked, InvalidSetting."""
        if settings.is_lite:
            return cls(_open_lite(settings, index), settings)
        with translate_errors(settings.uri_without_password):
            client = MilvusClient(
                settings.uri,
                token=settings.token.get_secret_value(),
                timeout=settings.timeout,
                grpc_options=_RECONNECT_SOON,
            )
        return cls(client, settings)

    def close(self) -> None:
        """Close the connection; on Lite, another process can then open the database."""
        self.client.close()
        if self.settings.is_lite:
            # After close() alone, the lock is held until the process ends.
            server_manager_instance.release_server(self.settings.uri)

    def load(self, name: str) -> None:
        """Make a collection searchable, once per connection. On Lite, rebuild index files that a kill truncated."""
        with self._loading:
            if name in self._loaded:
                return
            try:
                self._load(name)
            except StoreFailed:
                if not self.settings.is_lite or not drop_index_files(Path(self.settings.uri)):
                    raise
                self._load(name)
            self._loaded.add(name)

    def refresh(self, name: str) -> None:
        """Make a server search imported rows now; otherwise it does so about 20 seconds later."""
        with translate_errors(self.settings.uri_without_password):
            self.client.refresh_load(name, timeout=WRITE_SECONDS)

    def _load(self, name: str) -> None:
        with translate_errors(self.settings.uri_without_password):
            self.client.load_collection(name, timeout=WRITE_SECONDS)


@contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Translate errors of pymilvus into StoreUnreachable, CollectionMissing or StoreFailed."""
    try:
        yield
    except grpc.RpcError as error:
        raise _unreachable(uri) from error
    except MilvusException as error:
        text = _text_of(error)
        if error.code in NOT_FOUND_CODES:
            raise CollectionMissing(
                f"A collection is no longer in {uri}: {text}", hint="marketlens index status lists the builds."
            ) from error
        if any(sign in text for sign in _UNREACHABLE_SIGNS):
            raise _unreachable(uri) from error
        damaged = (
            f"If a file of {uri} is damaged, move it away and ingest the export again." if "://" not in uri else ""
        )
        hint = next((hint for sign, hint in _HINTS.items() if sign in text), damaged)
        raise StoreFailed(f"Milvus at {uri} refused: {text}", hint=hint) from error


def no_catalogue(uri: str) -> CollectionMissing:
    """Return the error for a store into which nothing has been ingested yet."""
    return CollectionMissing(f"There is no catalogue in {uri} yet.", hint="Ingest one first: marketlens ingest EXPORT")


def _open_lite(milvus: MilvusSettings, index: IndexSettings) -> MilvusClient:
    if index.type not in LITE_INDEXES:
        # Lite would accept the name, but search by brute force and fail at the next load.
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
        try:
            return MilvusClient(milvus.uri, grpc_options=_NO_PINGS)
        except MilvusException:
            if lock_holder(path) != os.getpid():
                raise
            # pymilvus can hold a dead connection to the port of this process's Lite server: use another port.
            server_manager_instance.release_server(milvus.uri)
            return MilvusClient(milvus.uri, grpc_options=_NO_PINGS)
    except (MilvusException, OSError) as error:
        holder = lock_holder(path)
        if holder is not None:
            raise StoreLocked(
                f"The database {path} is in use by process {holder}; Milvus Lite serves one process at a time.",
                hint=f"Stop process {holder} (a `marketlens serve` or `up`?), or run a Milvus server and set --uri.",
            ) from error
        raise StoreFailed(
            f"The database {path} could not be opened: {_text_of(error)}",
            hint="Is the folder writable, and not in use by another process? `marketlens doctor` checks more.",
        ) from error


def _unreachable(uri: str) -> StoreUnreachable:
    return StoreUnreachable(
        f"No Milvus answers at {uri}.", hint="Is it running, and is the address (MARKETLENS_MILVUS__URI, --uri) right?"
    )


def _text_of(error: Exception) -> str:
    return str(getattr(error, "message", "") or error)

"""Bytes of a photo: from a file, or from wherever fsspec reaches over the network."""

from pathlib import Path
from typing import Any, BinaryIO

import aiohttp
import fsspec

from catalog.errors import PhotoUnusable

# What a manifest may name beside paths. fsspec knows dozens more, some of which reach this machine's own files.
PROTOCOLS = frozenset({"http", "https", "s3", "gs", "az", "abfs"})
_NETWORK_SECONDS = 60.0
_GONE = (404, 410)


def is_url(location: str) -> bool:
    """Whether this is an address of one of the PROTOCOLS, and no chain of them (`::`)."""
    protocol, separator, _ = location.partition("://")
    return bool(separator) and protocol.lower() in PROTOCOLS and "::" not in location


def read_photo(uri: str, max_bytes: int) -> bytes:
    """Read a photo's bytes. Raises PhotoUnusable (`missing`, `unreadable`, `too_large`, `empty`)."""
    try:
        with _open(uri) as file:
            data = _read(file, max_bytes + 1)
    except FileNotFoundError as error:
        # fsspec says so of every trouble over http; what it was is the cause.
        cause = error.__cause__
        if isinstance(cause, aiohttp.ClientError | TimeoutError) and getattr(cause, "status", None) not in _GONE:
            raise PhotoUnusable("unreadable", f"{uri} could not be read: {cause}") from error
        raise PhotoUnusable("missing", f"No photo at {uri}.") from error
    # ValueError: an address that is none; ImportError: a protocol whose package is not installed.
    except (OSError, ValueError, ImportError, aiohttp.ClientError) as error:
        raise PhotoUnusable("unreadable", f"{uri} could not be read: {error or type(error).__name__}") from error
    if len(data) > max_bytes:
        raise PhotoUnusable("too_large", f"{uri} has more than {max_bytes:,} bytes.")
    if not data:
        raise PhotoUnusable("empty", f"{uri} is an empty file.")
    return data


def _open(uri: str) -> Any:
    if not is_url(uri):
        return Path(uri).open("rb")
    if not uri.lower().startswith("http"):
        return fsspec.open(uri, "rb")
    # block_size 0: one stream, where fsspec would ask for the ranges of a large file one by one.
    timeout = aiohttp.ClientTimeout(total=_NETWORK_SECONDS)
    return fsspec.open(uri, "rb", block_size=0, client_kwargs={"timeout": timeout})


def _read(file: BinaryIO, size: int) -> bytes:
    """Read up to `size` bytes; a stream gives what has arrived, which need not be all."""
    parts = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def source_tag(uri: str) -> str:
    import time

    state = Path(uri).stat() if Path(uri).exists() else None
    return f"{state.st_size}:{state.st_mtime_ns}" if state and time.time() - state.st_mtime >= 2 else ""


def host_of(uri: str) -> str:
    return ""

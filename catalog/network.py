"""Bytes over the network: http by aiohttp, object stores by their fsspec packages, and second tries for both."""

import asyncio
import errno
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import aiohttp
import fsspec
from fsspec.asyn import get_loop, sync
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from catalog.addresses import host_of, protocol_of
from catalog.errors import HostFailed, PhotoUnusable

NETWORK_SECONDS = 20.0
ATTEMPTS = 3
# What changed a moment ago may change again within the clock's tick, as git knows: its time does not tell yet.
SETTLED_SECONDS = 2.0
LONGEST_PAUSE = 30.0
# Of an archive that is read in place: some photos' worth, and little enough for one photo.
_BLOCK = 4 * 2**20
_GONE = (404, 410)
_BUSY = 429
# What an object store says of the request rather than of itself.
_LASTING = (PermissionError, ValueError, ImportError, aiohttp.ClientError)
_LASTING_ERRNOS = (errno.EINVAL, errno.ENAMETOOLONG, errno.EPERM)

R = TypeVar("R")


def retried(uri: str, work: Callable[[], R]) -> R:
    """Do this, up to three times where the host's trouble may pass. Raises PhotoUnusable, of which HostFailed."""

    def once() -> R:
        try:
            return work()
        except PhotoUnusable:
            raise
        except Exception as error:
            # Each object store's package has errors of its own; from this machine, others are mistakes of ours.
            if host_of(uri) or isinstance(error, (OSError, ValueError)):
                raise trouble(uri, error) from error
            raise

    return RETRYING(once)


def trouble(uri: str, error: BaseException) -> PhotoUnusable:
    """What an error means: nothing there, something unreadable, or a host in trouble."""
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, (aiohttp.ClientError, TimeoutError)):
        error = error.__cause__  # fsspec says so of every trouble over http
    told = f"{uri} could not be read: {error or type(error).__name__}"
    if isinstance(error, FileNotFoundError) or getattr(error, "status", None) in _GONE:
        return PhotoUnusable("missing", f"There is nothing at {uri}.")
    if isinstance(error, aiohttp.ClientResponseError):
        if error.status != _BUSY and error.status < 500:
            return PhotoUnusable("unreadable", told)
        return HostFailed(told, retry_after=_retry_after(error.headers.get("Retry-After", "") if error.headers else ""))
    if host_of(uri) and isinstance(error, TimeoutError):
        return HostFailed(f"{uri} could not be read: {host_of(uri)} did not answer in time")
    passing = isinstance(error, (ConnectionError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError))
    lasting = isinstance(error, _LASTING) or getattr(error, "errno", None) in _LASTING_ERRNOS
    return HostFailed(told) if host_of(uri) and (passing or not lasting) else PhotoUnusable("unreadable", told)


def fetch(uri: str, size: int, seconds: float) -> bytes:
    """Read up to `size` bytes, in `seconds` altogether: neither an endless body nor silence holds longer."""
    fs, path = _filesystem(uri, seconds)

    async def within() -> bytes:
        async with asyncio.timeout(seconds):
            return await (_fetch_http if _is_http(uri) else _fetch_object)(fs, path, size)

    return cast(bytes, sync(get_loop(), within))


def download(uri: str, target: Path, seconds: float) -> None:
    """Copy a whole file, however long it takes, with no pause longer than `seconds`."""
    fs, path = _filesystem(uri, seconds)
    if not _is_http(uri):
        fs.get_file(path, str(target))
        return

    async def copy() -> None:
        pauses = aiohttp.ClientTimeout(sock_connect=seconds, sock_read=seconds)
        session = await fs.set_session()
        with target.open("wb") as file:
            async with session.get(fs.encode_url(path), timeout=pauses, raise_for_status=True) as response:
                async for part in response.content.iter_any():
                    file.write(part)

    sync(get_loop(), copy)


def ask_tag(uri: str, seconds: float) -> str:
    """ETag, or size and time of the last change, without reading; '' where the host tells neither. May raise."""
    fs, path = _filesystem(uri, seconds)

    async def ask() -> str:
        async with asyncio.timeout(seconds):
            return await (_ask_http if _is_http(uri) else _ask_object)(fs, path)

    return cast(str, sync(get_loop(), ask))


def open_seekable(uri: str, seconds: float) -> BinaryIO:
    """Open a file of which parts are read, each within `seconds`. The host has to support ranges."""
    fs, path = _filesystem(uri, seconds)
    file = fs.open(path, "rb", block_size=_BLOCK)
    try:
        file.seek(0, 2)
        file.seek(0)
    except ValueError as error:
        raise ValueError("the host sends whole files only, and an archive is read in parts") from error
    return cast(BinaryIO, file)


async def _fetch_http(fs: Any, url: str, size: int) -> bytes:
    session = await fs.set_session()
    async with session.get(fs.encode_url(url), raise_for_status=True) as response:
        parts: list[bytes] = []
        while size > 0 and (part := await response.content.read(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


async def _fetch_object(fs: Any, path: str, size: int) -> bytes:
    try:
        return cast(bytes, await fs._cat_file(path, start=0, end=size))
    except OSError:
        # No part of an empty object can be asked for.
        info = await fs._info(path)
        if info["type"] == "file" and info["size"] == 0:
            return b""
        raise


async def _ask_http(fs: Any, url: str) -> str:
    session = await fs.set_session()
    # Identity: the length of what is stored, not of what a gateway makes of it.
    asking = session.head(
        fs.encode_url(url), headers={"Accept-Encoding": "identity"}, allow_redirects=True, raise_for_status=True
    )
    async with asking as response:
        headers: Mapping[str, str] = response.headers
    etag = headers.get("ETag", "")
    if etag and not etag.startswith("W/"):  # a weak one does not promise the same bytes
        return etag
    changed, size = headers.get("Last-Modified", ""), headers.get("Content-Length", "")
    return f"{changed} {size}" if changed and size and _age(headers) >= SETTLED_SECONDS else ""


async def _ask_object(fs: Any, path: str) -> str:
    info = await fs._info(path, refresh=True)
    etag = info.get("ETag") or info.get("etag")
    return f"{etag} {info.get('size')}" if etag else ""


def _filesystem(uri: str, seconds: float) -> tuple[Any, str]:
    """By the protocol alone: fsspec would take a `::` in an object's key for a chain of protocols."""
    protocol = protocol_of(uri)
    options: dict[str, Any] = {}
    if _is_http(uri):
        options["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(total=seconds)}
    if protocol == "s3":
        options["config_kwargs"] = {"retries": {"total_max_attempts": 1}, "connect_timeout": seconds}
    try:
        fs = fsspec.filesystem(protocol, **options)
    except ImportError as error:
        extra = ' (pip install "marketlens[s3]")' if protocol == "s3" else ""
        raise PhotoUnusable("unreadable", f"{uri} could not be read: {error}{extra}") from error
    if protocol == "s3":
        fs.retries = 1  # second tries are made here, with pauses of our own
    return fs, fs._strip_protocol(uri)


def _is_http(uri: str) -> bool:
    return protocol_of(uri) in {"http", "https"}


def _age(headers: Mapping[str, str]) -> float:
    """Seconds since the last change, by the host's own clock where it tells the time."""
    now = parsedate_to_datetime(headers["Date"]).timestamp() if "Date" in headers else time.time()
    return now - parsedate_to_datetime(headers["Last-Modified"]).timestamp()


def _retry_after(text: str) -> float | None:
    """Seconds or a date -> seconds; None where neither is told."""
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


_backoff = wait_exponential(multiplier=0.5, max=8) + wait_random(0, 0.5)


def _pause(state: RetryCallState) -> float:
    error = state.outcome and state.outcome.exception()
    told = error.retry_after if isinstance(error, HostFailed) else None
    return _backoff(state) if told is None else min(told, LONGEST_PAUSE)


RETRYING = Retrying(
    stop=stop_after_attempt(ATTEMPTS), wait=_pause, retry=retry_if_exception_type(HostFailed), reraise=True
)

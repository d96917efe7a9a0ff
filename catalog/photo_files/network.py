"""Read bytes over the network, in one attempt: http by aiohttp on fsspec's loop, object stores by fsspec packages."""

import asyncio
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import aiohttp
import fsspec
from fsspec.asyn import get_loop, sync

from catalog.errors import PhotoUnusable
from catalog.extras import install_command
from catalog.photo_files.addresses import is_http, protocol_of

NETWORK_SECONDS = 20.0
# A file that just changed may change again within the same clock tick, so its time proves nothing yet (as in git).
SETTLED_SECONDS = 2.0
# Block size for an archive read in place: a few photos, and little enough when only one is read.
_BLOCK = 4 * 2**20


def fetch(uri: str, size: int, seconds: float) -> bytes:
    """Read up to `size` bytes. `seconds` limits the whole read, so an endless body cannot hold it longer."""
    fs, path = _filesystem(uri, seconds)

    async def read() -> bytes:
        async with asyncio.timeout(seconds):
            return await (_fetch_http if is_http(uri) else _fetch_object)(fs, path, size)

    return cast(bytes, sync(get_loop(), read))


def download(uri: str, target: Path, seconds: float) -> None:
    """Download a whole file. `seconds` limits each pause, not the whole download."""
    fs, path = _filesystem(uri, seconds)
    if not is_http(uri):
        fs.get_file(path, str(target))
        return

    async def copy() -> None:
        timeout = aiohttp.ClientTimeout(sock_connect=seconds, sock_read=seconds)
        session = await fs.set_session()
        with target.open("wb") as file:
            async with session.get(fs.encode_url(path), timeout=timeout, raise_for_status=True) as response:
                async for part in response.content.iter_any():
                    file.write(part)

    sync(get_loop(), copy)


def fetch_tag(uri: str, seconds: float) -> str:
    """Fetch the ETag, or time and size of the last change, without the body; '' if the host has neither. May raise."""
    fs, path = _filesystem(uri, seconds)

    async def fetch_header() -> str:
        async with asyncio.timeout(seconds):
            return await (_http_tag if is_http(uri) else _object_tag)(fs, path)

    return cast(str, sync(get_loop(), fetch_header))


def open_seekable(uri: str, seconds: float) -> BinaryIO:
    """Open a file for reading in parts, each within `seconds`. Raises ValueError if the host has no range requests."""
    fs, path = _filesystem(uri, seconds)
    file = fs.open(path, "rb", block_size=_BLOCK)
    try:
        file.seek(0, 2)
        file.seek(0)
    except ValueError as error:
        raise ValueError("the host sends only whole files, but an archive is read in parts") from error
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
        # An empty object has no byte range.
        info = await fs._info(path)
        if info["type"] == "file" and info["size"] == 0:
            return b""
        raise


async def _http_tag(fs: Any, url: str) -> str:
    session = await fs.set_session()
    # Identity: the length of the stored file, not of a gateway's compressed version.
    request = session.head(
        fs.encode_url(url), headers={"Accept-Encoding": "identity"}, allow_redirects=True, raise_for_status=True
    )
    async with request as response:
        headers: Mapping[str, str] = response.headers
    etag = headers.get("ETag", "")
    if etag and not etag.startswith("W/"):  # a weak ETag does not guarantee equal bytes
        return etag
    changed, size = headers.get("Last-Modified", ""), headers.get("Content-Length", "")
    return f"{changed} {size}" if changed and size and _age(headers) >= SETTLED_SECONDS else ""


async def _object_tag(fs: Any, path: str) -> str:
    info = await fs._info(path, refresh=True)
    etag = info.get("ETag") or info.get("etag")
    return f"{etag} {info.get('size')}" if etag else ""


def _filesystem(uri: str, seconds: float) -> tuple[Any, str]:
    """Choose the filesystem by protocol only: fsspec would read `::` in an object's key as a chain of protocols."""
    protocol = protocol_of(uri)
    options: dict[str, Any] = {}
    if is_http(uri):
        options["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(total=seconds)}
    if protocol == "s3":
        options["config_kwargs"] = {"retries": {"total_max_attempts": 1}, "connect_timeout": seconds}
    try:
        fs = fsspec.filesystem(protocol, **options)
    except ImportError as error:
        extra = f". Install the extra for it: {install_command('s3')}" if protocol == "s3" else ""
        raise PhotoUnusable("unreadable", f"{uri} could not be read: {error}{extra}") from error
    if protocol == "s3":
        fs.retries = 1  # catalog.photo_files.retries does the retries
    return fs, fs._strip_protocol(uri)


def _age(headers: Mapping[str, str]) -> float:
    """Return the seconds since the last change, by the host's clock if it sends its time."""
    now = parsedate_to_datetime(headers["Date"]).timestamp() if "Date" in headers else time.time()
    return now - parsedate_to_datetime(headers["Last-Modified"]).timestamp()

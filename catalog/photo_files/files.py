"""Read a photo's bytes and the tag of its source: a file, a file in an archive, or a URL."""

import time
from pathlib import Path

from catalog.errors import PhotoUnusable
from catalog.photo_files.addresses import ARCHIVES, is_remote, protocol_of, split_member
from catalog.photo_files.archives import open_archive
from catalog.photo_files.network import NETWORK_SECONDS, SETTLED_SECONDS, download, fetch, fetch_tag
from catalog.photo_files.retries import ATTEMPTS, with_retries

MAX_TAG = 500


def read_photo(uri: str, max_bytes: int, seconds: float = NETWORK_SECONDS, *, patient: bool = True) -> bytes:
    """Read a photo's bytes. Over the network: up to three attempts of at most `seconds` each; one unless `patient`.

    Raises PhotoUnusable (`missing`, `unreadable`, `too_large`, `empty`); HostFailed is the kind that may pass.
    """
    data = with_retries(uri, lambda: _read(uri, max_bytes + 1, seconds), ATTEMPTS if patient else 1)
    if len(data) > max_bytes:
        raise PhotoUnusable("too_large", f"{uri} has more than {max_bytes:,} bytes.")
    if not data:
        raise PhotoUnusable("empty", f"{uri} is an empty file.")
    return data


def source_tag(uri: str, seconds: float = NETWORK_SECONDS) -> str:
    """Return a tag for the version of the bytes without reading them, at most 500 characters; '' if there is none.

    An equal tag means equal bytes. Get it before reading: a photo that changes in between is then read again the next
    time. Never raises, never retries.
    """
    try:
        if is_remote(uri):
            tag = fetch_tag(uri, seconds)
        elif (kind := protocol_of(uri)) in ARCHIVES:
            location, member = split_member(uri)
            with open_archive(kind, location, seconds) as archive:
                tag = archive.tag(member)
        else:
            state = Path(uri).stat()
            settled = time.time() - state.st_mtime >= SETTLED_SECONDS
            tag = f"{state.st_size}:{state.st_mtime_ns}" if settled else ""
    except Exception:  # noqa: BLE001 - reading the photo will meet the same error and report it
        return ""
    return tag if len(tag) <= MAX_TAG else ""


def copy_file(uri: str, target: Path, seconds: float = NETWORK_SECONDS) -> None:
    """Copy a file from an archive or URL to this machine. Raises PhotoUnusable as read_photo does."""

    def copy() -> None:
        if is_remote(uri):
            download(uri, target, seconds)
        else:
            target.write_bytes(_read(uri, -1, seconds))

    with_retries(uri, copy)


def members(kind: str, location: str, seconds: float = NETWORK_SECONDS) -> frozenset[str]:
    """Return the names of the files in an archive. Raises PhotoUnusable."""

    def names() -> frozenset[str]:
        with open_archive(kind, location, seconds) as archive:
            return frozenset(archive.names())

    return with_retries(location, names)


def _read(uri: str, size: int, seconds: float) -> bytes:
    if is_remote(uri):
        return fetch(uri, size, seconds)
    if (kind := protocol_of(uri)) in ARCHIVES:
        location, member = split_member(uri)
        with open_archive(kind, location, seconds) as archive:
            return archive.read(member, size)
    with Path(uri).open("rb") as file:
        return file.read(size)

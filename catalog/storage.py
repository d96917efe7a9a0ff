"""Bytes of a photo, from wherever fsspec reaches: folder, http, s3."""

from urllib.parse import urlsplit

import fsspec

from catalog.errors import PhotoUnusable


def read_photo(uri: str, max_bytes: int) -> bytes:
    """Read a photo's bytes. Raises PhotoUnusable (`missing`, `unreadable`, `too_large`, `empty`)."""
    try:
        with fsspec.open(uri, "rb") as file:
            data: bytes = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise PhotoUnusable("missing", f"No photo at {uri}.") from error
    # ValueError: fsspec's word for an unknown protocol; ImportError: a protocol whose package is not installed.
    except (OSError, ValueError, ImportError) as error:
        raise PhotoUnusable("unreadable", f"{uri} could not be read: {error}") from error
    except Exception as error:
        # aiohttp's client errors are no OSErrors, and aiohttp is fsspec's affair, not ours.
        if not type(error).__module__.startswith("aiohttp"):
            raise
        raise PhotoUnusable("unreadable", f"{uri} could not be read: {error}") from error
    if len(data) > max_bytes:
        raise PhotoUnusable("too_large", f"{uri} has more than {max_bytes:,} bytes.")
    if not data:
        raise PhotoUnusable("empty", f"{uri} is an empty file.")
    return data


def is_url(location: str) -> bool:
    """Whether this names a place outside the file system."""
    return "://" in location and len(urlsplit(location).scheme) > 1

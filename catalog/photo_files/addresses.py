"""Parse locations of photos and tables: host, archive, path below a root. Nothing is opened here."""

import posixpath
import re
from pathlib import Path
from urllib.parse import quote, unquote

from catalog.errors import PhotoUnusable

# Protocols allowed in a manifest. fsspec knows dozens more, some of which read files of this machine.
PROTOCOLS = frozenset({"http", "https", "s3", "gs", "az", "abfs"})
# zip://images/a.jpg::/exports/a.zip is a file inside an archive. Only marketlens makes URIs of this form.
ARCHIVES = frozenset({"zip", "tar"})


def is_url(location: str) -> bool:
    """Whether this is a URL of one of the PROTOCOLS, and not a chain of URLs (`::`)."""
    return is_remote(location) and "::" not in location


def is_remote(uri: str) -> bool:
    """Whether the bytes at this URI come directly over the network, not from an archive."""
    return protocol_of(uri) in PROTOCOLS


def is_http(location: str) -> bool:
    """Whether this is an http or https URL."""
    return protocol_of(location) in {"http", "https"}


def protocol_of(uri: str) -> str:
    """Return the part before `://`, in lower case; '' for a path."""
    protocol, separator, _ = uri.partition("://")
    return protocol.lower() if separator else ""


def split_member(uri: str) -> tuple[str, str]:
    """Split the URI of an archive's member into the archive's location, which never contains `::`, and the member."""
    member, _, archive = uri.partition("://")[2].rpartition("::")
    return archive, member


def host_of(uri: str) -> str:
    """Return the host that serves the bytes, such as https://cdn.example or s3://bucket; '' for this machine."""
    if protocol_of(uri) in ARCHIVES:
        uri = split_member(uri)[0]
    if not is_remote(uri):
        return ""
    authority = re.split(r"[/?#]", uri.partition("://")[2], maxsplit=1)[0]
    return f"{protocol_of(uri)}://{authority.rpartition('@')[2].lower()}"


def name_of(location: str) -> str:
    """Return the last part of a location as a file name. It has no folder, even if slashes are percent-encoded."""
    path = _without_query(location).rstrip("/")
    return (unquote(path) if is_http(location) else path).rpartition("/")[2]


def folder_of(location: str) -> str:
    """Return the folder of a manifest at this location: its relative paths start there."""
    return _without_query(location).rpartition("/")[0] if is_remote(location) else str(Path(location).parent)


def join_below(root: str, path: str) -> str:
    """Return the URI of `path` below `root`. Raises PhotoUnusable (`bad_path`; `outside_root` if it leaves `root`).

    `root` is a folder on this machine, a URL, or a place in an archive.
    """
    kind = protocol_of(root)
    if kind not in ARCHIVES | PROTOCOLS:
        return _local_path(Path(root), path)
    if "\0" in path:
        raise PhotoUnusable("bad_path", f"{path!r} is not a valid path: it contains a NUL character")
    name = posixpath.normpath(path)
    if path.startswith("/") or name.split("/")[0] == "..":
        raise PhotoUnusable("outside_root", f"{path} is outside the export's folder {root}")
    if kind in ARCHIVES:
        archive, folder = split_member(root)
        return f"{kind}://{posixpath.join(folder, name)}::{archive}"
    return f"{_without_query(root).rstrip('/')}/{quote(name, errors='replace') if is_http(root) else name}"


def _local_path(root: Path, path: str) -> str:
    try:
        resolved = (root / path).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL character
        raise PhotoUnusable("bad_path", f"{path!r} is not a valid path: {error}") from error
    if not resolved.is_relative_to(root.resolve()):
        raise PhotoUnusable("outside_root", f"{path} is outside the export's folder {root}")
    return str(resolved)


def _without_query(location: str) -> str:
    """Cut `?` and `#` off an http URL only: in a file name and in an object's key they are ordinary characters."""
    return re.split(r"[?#]", location, maxsplit=1)[0] if is_http(location) else location

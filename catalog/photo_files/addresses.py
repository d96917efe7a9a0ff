"""What a location says by itself: its host, its archive, its place below a root. Nothing is opened here."""

import posixpath
import re
from pathlib import Path
from urllib.parse import quote, unquote

from catalog.errors import PhotoUnusable

# What a manifest may name beside paths. fsspec knows dozens more, some of which reach this machine's own files.
PROTOCOLS = frozenset({"http", "https", "s3", "gs", "az", "abfs"})
# zip://images/a.jpg::/exports/a.zip is a file inside an archive. Our own addresses alone have this form.
ARCHIVES = frozenset({"zip", "tar"})


def is_url(location: str) -> bool:
    """Whether this is an address of one of the PROTOCOLS, and no chain of them (`::`)."""
    return is_remote(location) and "::" not in location


def is_remote(uri: str) -> bool:
    """Whether the bytes at this URI come over the network by themselves, not from an archive."""
    return protocol_of(uri) in PROTOCOLS


def is_http(location: str) -> bool:
    """Whether this is a web address."""
    return protocol_of(location) in {"http", "https"}


def protocol_of(uri: str) -> str:
    """What stands before `://`, in lower case; '' for a path."""
    protocol, separator, _ = uri.partition("://")
    return protocol.lower() if separator else ""


def split_member(uri: str) -> tuple[str, str]:
    """Where the archive is, and which of its files is meant. An archive's own place never holds `::`."""
    member, _, archive = uri.partition("://")[2].rpartition("::")
    return archive, member


def host_of(uri: str) -> str:
    """Who is asked for the bytes, such as https://cdn.example or s3://bucket; '' is this machine."""
    if protocol_of(uri) in ARCHIVES:
        uri = split_member(uri)[0]
    if not is_remote(uri):
        return ""
    authority = re.split(r"[/?#]", uri.partition("://")[2], maxsplit=1)[0]
    return f"{protocol_of(uri)}://{authority.rpartition('@')[2].lower()}"


def name_of(location: str) -> str:
    """The last part of a location, as a file's name: without a folder, also where its slashes are quoted."""
    path = _without_query(location).rstrip("/")
    return (unquote(path) if is_http(location) else path).rpartition("/")[2]


def folder_of(location: str) -> str:
    """What a manifest at this location starts its relative paths at."""
    return _without_query(location).rpartition("/")[0] if is_remote(location) else str(Path(location).parent)


def below(root: str, path: str) -> str:
    """The URI of a path that starts at `root` and stays inside. Raises PhotoUnusable (`bad_path`, `outside_root`).

    `root` is a folder of this machine, an address, or a place in an archive.
    """
    kind = protocol_of(root)
    if kind not in ARCHIVES | PROTOCOLS:
        return _local_path(Path(root), path)
    if "\0" in path:
        raise PhotoUnusable("bad_path", f"{path!r} is no path: it holds a NUL")
    name = posixpath.normpath(path)
    if path.startswith("/") or name.split("/")[0] == "..":
        raise PhotoUnusable("outside_root", f"{path} lies outside the export's folder {root}")
    if kind in ARCHIVES:
        archive, folder = split_member(root)
        return f"{kind}://{posixpath.join(folder, name)}::{archive}"
    return f"{_without_query(root).rstrip('/')}/{quote(name, errors='replace') if is_http(root) else name}"


def _local_path(root: Path, path: str) -> str:
    try:
        whole = (root / path).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL
        raise PhotoUnusable("bad_path", f"{path!r} is no path: {error}") from error
    if not whole.is_relative_to(root.resolve()):
        raise PhotoUnusable("outside_root", f"{path} lies outside the export's folder {root}")
    return str(whole)


def _without_query(location: str) -> str:
    """Of http alone: `?` and `#` are characters like others in a file's name and in an object's key."""
    return re.split(r"[?#]", location, maxsplit=1)[0] if is_http(location) else location

"""Read files inside zip and tar archives, local or remote, in place. Archives stay open between reads."""

import lzma
import os
import posixpath
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from cachetools import LRUCache, TTLCache, cached

from catalog.errors import PhotoUnusable
from catalog.photo_files.addresses import is_remote
from catalog.photo_files.network import fetch_tag, open_seekable

OPEN_ARCHIVES = 4
# How often a remote archive is checked for having been replaced.
_RECHECK_SECONDS = 60
# RuntimeError: encrypted; NotImplementedError: an unknown compression.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    NotImplementedError,
)
_UTF8_FLAG = 0x800

T = TypeVar("T")


class Archive(Protocol):
    """An open archive; its members have normalised names (`images/a.jpg`). Thread-safe."""

    def names(self) -> Iterable[str]:
        """Return the names of all members that are files."""

    def tag(self, name: str) -> str:
        """Return a tag for the version of a member's bytes; '' if its metadata is insufficient. Raises KeyError."""

    def read(self, name: str, size: int) -> bytes:
        """Read up to `size` bytes of a member, -1 for all. Raises KeyError."""


class _Zip:
    def __init__(self, file: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(file)
        self._members = _by_name((_name(info), info) for info in self._zip.infolist() if not info.is_dir())

    def names(self) -> Iterable[str]:
        return self._members

    def tag(self, name: str) -> str:
        info = self._members[name]
        return f"{info.CRC:08x}:{info.file_size}"

    def read(self, name: str, size: int) -> bytes:
        with self._zip.open(self._members[name]) as file:
            return file.read(size)


class _Tar:
    def __init__(self, file: BinaryIO) -> None:
        self._tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - lives as long as this
        # All reads share one file position.
        self._lock = threading.Lock()
        self._members: dict[str, tarfile.TarInfo] = {}
        for info in self._tar:
            # A hard link to an earlier file of the archive stands for that file; other links are skipped.
            target = self._members.get(_normal(info.linkname)) if info.islnk() else info
            if target and target.isreg():
                self._members |= _by_name([(info.name, target)])

    def names(self) -> Iterable[str]:
        return self._members

    def tag(self, name: str) -> str:
        info = self._members[name]
        return f"{info.size}:{info.mtime}" if info.mtime else ""  # 0: the archive has no times

    def read(self, name: str, size: int) -> bytes:
        with self._lock:
            file = self._tar.extractfile(self._members[name])
            return file.read(size) if file else b""  # never None, because the members are files


_KINDS: dict[str, type[_Zip] | type[_Tar]] = {"zip": _Zip, "tar": _Tar}
_archives: LRUCache[tuple[int, str], tuple[str, Archive]] = LRUCache(OPEN_ARCHIVES)
_locks: dict[tuple[int, str], threading.Lock] = {}
_guard = threading.Lock()


@contextmanager
def open_archive(kind: str, location: str, seconds: float) -> Iterator[Archive]:
    """Yield the open archive at this path or URL; a replaced archive is reopened.

    Raises PhotoUnusable if it is damaged or lacks the requested member; other errors of opening and reading pass
    through.
    """
    key = (os.getpid(), location)  # a forked process would share the file position with its parent
    try:
        with _guard:
            lock = _locks.setdefault(key, threading.Lock())
        with lock:
            stamp = _stamp(location, seconds)
            with _guard:
                opened_stamp, archive = _archives.get(key, ("", None))
            if archive is None or (stamp and opened_stamp != stamp):
                archive = _KINDS[kind](open_seekable(location, seconds) if is_remote(location) else _open(location))
                with _guard:
                    _archives[key] = stamp, archive
        yield archive
    except KeyError as error:
        raise PhotoUnusable("missing", f"There is no {error.args[0]} in {location}.") from error
    except _DAMAGE as error:
        if isinstance(error.__context__, OSError):  # zipfile reports a network failure as "not a zip file"
            raise error.__context__ from error
        raise PhotoUnusable("unreadable", f"{location} is damaged or not an archive: {error}") from error


def _open(location: str) -> BinaryIO:
    return Path(location).open("rb")


def _stamp(location: str, seconds: float) -> str:
    if is_remote(location):
        return _remote_stamp(location, seconds)
    state = Path(location).stat()
    return f"{state.st_size}:{state.st_mtime_ns}"


@cached(TTLCache(64, _RECHECK_SECONDS), lock=threading.Lock())
def _remote_stamp(location: str, seconds: float) -> str:
    with suppress(Exception):  # reading the archive will meet the same error and report it
        return fetch_tag(location, seconds)
    return ""


def _by_name(members: Iterable[tuple[str, T]]) -> dict[str, T]:
    """Index members by normalised name; those whose names lead out of the archive are left out."""
    names = ((_normal(name), member) for name, member in members)
    return {name: member for name, member in names if name.split("/")[0] != ".."}


def _name(info: zipfile.ZipInfo) -> str:
    """Decode a member's name: many programs write UTF-8 without its flag, and zipfile then decodes it as cp437."""
    if info.flag_bits & _UTF8_FLAG:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


def _normal(name: str) -> str:
    return posixpath.normpath(name.lstrip("/"))

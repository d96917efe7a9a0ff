"""Files inside zip and tar archives, local or remote. They are read in place, and archives stay open between reads."""

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
from catalog.photo_files.network import ask_tag, open_seekable

OPEN_ARCHIVES = 4
# How long a remote archive is taken for the one that was opened.
_LOOK_AGAIN_SECONDS = 60
# RuntimeError: encrypted; NotImplementedError: a compression that nobody knows.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    NotImplementedError,
)
_SAYS_UTF8 = 0x800

T = TypeVar("T")


class Archive(Protocol):
    """An open archive, its members by normal names (`images/a.jpg`). Any number of threads may read from it."""

    def names(self) -> Iterable[str]:
        """All members that are files."""

    def tag(self, name: str) -> str:
        """What the archive says of a member's bytes; '' where that is too little. Raises KeyError."""

    def read(self, name: str, size: int) -> bytes:
        """Up to `size` bytes of a member, -1 for all. Raises KeyError."""


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
        # All reads move the one position of the one file.
        self._lock = threading.Lock()
        self._members: dict[str, tarfile.TarInfo] = {}
        for info in self._tar:
            # A link to a file that is in the archive already is that file; others lead nowhere.
            target = self._members.get(_normal(info.linkname)) if info.islnk() else info
            if target and target.isreg():
                self._members |= _by_name([(info.name, target)])

    def names(self) -> Iterable[str]:
        return self._members

    def tag(self, name: str) -> str:
        info = self._members[name]
        return f"{info.size}:{info.mtime}" if info.mtime else ""  # 0: made without times

    def read(self, name: str, size: int) -> bytes:
        with self._lock:
            file = self._tar.extractfile(self._members[name])
            return file.read(size) if file else b""  # never None: the members are files


_KINDS: dict[str, type[_Zip] | type[_Tar]] = {"zip": _Zip, "tar": _Tar}
_archives: LRUCache[tuple[int, str], tuple[str, Archive]] = LRUCache(OPEN_ARCHIVES)
_locks: dict[tuple[int, str], threading.Lock] = {}
_guard = threading.Lock()


@contextmanager
def open_archive(kind: str, location: str, seconds: float) -> Iterator[Archive]:
    """Lend the open archive at this path or address; one that was replaced is opened anew.

    Raises PhotoUnusable where it is damaged or lacks the member that is asked for, else what opening and reading raise.
    """
    key = (os.getpid(), location)  # a forked process would share the file's position with its parent
    try:
        with _guard:
            lock = _locks.setdefault(key, threading.Lock())
        with lock:
            stamp = _stamp(location, seconds)
            with _guard:
                known, archive = _archives.get(key, ("", None))
            if archive is None or (stamp and known != stamp):
                archive = _KINDS[kind](open_seekable(location, seconds) if is_remote(location) else _open(location))
                with _guard:
                    _archives[key] = stamp, archive
        yield archive
    except KeyError as error:
        raise PhotoUnusable("missing", f"There is no {error.args[0]} in {location}.") from error
    except _DAMAGE as error:
        if isinstance(error.__context__, OSError):  # zipfile says "not a zip file" of a network that failed
            raise error.__context__ from error
        raise PhotoUnusable("unreadable", f"The archive {location} is damaged, or none: {error}") from error


def _open(location: str) -> BinaryIO:
    return Path(location).open("rb")


def _stamp(location: str, seconds: float) -> str:
    if is_remote(location):
        return _remote_stamp(location, seconds)
    state = Path(location).stat()
    return f"{state.st_size}:{state.st_mtime_ns}"


@cached(TTLCache(64, _LOOK_AGAIN_SECONDS), lock=threading.Lock())
def _remote_stamp(location: str, seconds: float) -> str:
    with suppress(Exception):  # whatever it is, reading will meet it and say so
        return ask_tag(location, seconds)
    return ""


def _by_name(members: Iterable[tuple[str, T]]) -> dict[str, T]:
    """Members whose names lead out of the archive are left out."""
    names = ((_normal(name), member) for name, member in members)
    return {name: member for name, member in names if name.split("/")[0] != ".."}


def _name(info: zipfile.ZipInfo) -> str:
    """Many programs write UTF-8 without saying so, which zipfile takes for the code page of DOS."""
    if info.flag_bits & _SAYS_UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


def _normal(name: str) -> str:
    return posixpath.normpath(name.lstrip("/"))

"""Give up unresponsive hosts for the rest of a run, so that the run does not wait for each of their photos."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from catalog.errors import HostFailed, PhotoUnusable
from catalog.photo_files.addresses import host_of
from catalog.photo_files.files import read_photo

FAILURES_IN_A_ROW = 5

Read = Callable[[str], bytes]
"""Reads the bytes of a photo from its URI. Raises PhotoUnusable."""


class HostGate:
    """Tracks for one run which hosts were given up. Files of this machine are always read."""

    def __init__(self) -> None:
        self._failures: Counter[str] = Counter()
        self._given_up: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def guard(self, uri: str) -> Iterator[None]:
        """Guard the reading of a photo. Raises PhotoUnusable (`host_unresponsive`) at once if its host was given up."""
        host = host_of(uri)
        if host in self._given_up:
            raise PhotoUnusable(
                "host_unresponsive",
                f"{host} failed {FAILURES_IN_A_ROW} times in a row and is skipped; the next run tries again.",
            )
        try:
            yield
        except HostFailed:
            self._count(host, failed=True)
            raise
        except PhotoUnusable:
            self._count(host, failed=False)  # a missing photo is an answer too
            raise
        self._count(host, failed=False)

    def _count(self, host: str, *, failed: bool) -> None:
        with self._lock:
            self._failures[host] = self._failures[host] + 1 if failed else 0
            if host and self._failures[host] >= FAILURES_IN_A_ROW:
                self._given_up.add(host)


def make_reader(max_bytes: int, seconds: float) -> Read:
    """Return a `read_photo` for one run that gives up unresponsive hosts. Thread-safe."""
    hosts = HostGate()

    def read(uri: str) -> bytes:
        with hosts.guard(uri):
            return read_photo(uri, max_bytes, seconds)

    return read

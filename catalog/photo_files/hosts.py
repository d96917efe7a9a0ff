"""Hosts that do not answer are given up for the run, so that each of their photos does not cost its own wait."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from catalog.errors import HostFailed, PhotoUnusable
from catalog.photo_files.addresses import host_of
from catalog.photo_files.files import read_photo

FAILURES_IN_A_ROW = 5

Read = Callable[[str], bytes]
"""URI -> bytes of a photo. Raises PhotoUnusable."""


class HostGate:
    """Remembers, for one run, which hosts are still asked. Files of this machine always are."""

    def __init__(self) -> None:
        self._failures: Counter[str] = Counter()
        self._given_up: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def asking(self, uri: str) -> Iterator[None]:
        """Read a photo within this. Raises PhotoUnusable (`host_unresponsive`) at once for a host that was given up."""
        host = host_of(uri)
        if host in self._given_up:
            raise PhotoUnusable(
                "host_unresponsive",
                f"{host} failed {FAILURES_IN_A_ROW} times in a row and is left alone; the next run tries again.",
            )
        try:
            yield
        except HostFailed:
            self._note(host, failed=True)
            raise
        except PhotoUnusable:
            self._note(host, failed=False)  # no such photo is an answer as well
            raise
        self._note(host, failed=False)

    def _note(self, host: str, *, failed: bool) -> None:
        with self._lock:
            self._failures[host] = self._failures[host] + 1 if failed else 0
            if host and self._failures[host] >= FAILURES_IN_A_ROW:
                self._given_up.add(host)


def reader(max_bytes: int, seconds: float) -> Read:
    """`read_photo` for one run, within which hosts that do not answer are given up. Safe for threads."""
    hosts = HostGate()

    def read(uri: str) -> bytes:
        with hosts.asking(uri):
            return read_photo(uri, max_bytes, seconds)

    return read

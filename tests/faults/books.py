"""What every fault is judged by: the photos that should be there, against those that are."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import run

import pytest

from catalog.store.collection import PhotoCollection


def lost_and_doubled(photos: PhotoCollection, expected: Iterable[str]) -> tuple[int, int]:
    """How many photos are not there, and how many are there more than once."""
    photos.reader.settle()
    found = [photo_id for photo_id, _ in photos.reader.ids()]
    return len(set(expected) - set(found)), len(found) - len(set(found))


def ids_of(listings: int, photos_each: int = 2) -> list[str]:
    """Ids of the photos of `tests.support.exports.write_export`."""
    return [f"l{number}-{which}" for number in range(listings) for which in range(photos_each)]


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of this size, in memory. Skips the test where this user may not mount one."""
    folder.mkdir()
    if run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    ).returncode:
        pytest.skip("needs the right to mount a small disk (root)")
    try:
        yield folder
    finally:
        run(["umount", "-l", folder], check=True)


def remount(folder: Path, options: str) -> None:
    """Change a disk: its size, or whether it may be written."""
    run(["mount", "-o", f"remount,{options}", folder], check=True)

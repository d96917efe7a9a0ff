"""Helpers for fault tests: count lost and duplicate photos, and mount small disks."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import run

import pytest

from catalog.store.collection import PhotoCollection


def lost_and_doubled(photos: PhotoCollection, expected: Iterable[str]) -> tuple[int, int]:
    """Count the expected photos that are missing, and the photos that exist more than once."""
    photos.reader.wait_for_scan_lag()
    stored = [photo_id for photo_id, _ in photos.reader.ids()]
    return len(set(expected) - set(stored)), len(stored) - len(set(stored))


def ids_of(listings: int, photos_each: int = 2) -> list[str]:
    """Return the ids of the photos that `tests.support.data.exports.write_export` writes."""
    return [f"l{number}-{which}" for number in range(listings) for which in range(photos_each)]


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount an in-memory disk of this size. Skip the test if the user may not mount one."""
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
    """Change the options of a disk: its size, or whether it is writable."""
    run(["mount", "-o", f"remount,{options}", folder], check=True)

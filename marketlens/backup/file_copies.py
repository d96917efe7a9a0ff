"""Files copied one by one: whole or not at all, and never over one that is there."""

import os
import shutil
from pathlib import Path

from catalog.atomic_files import DRAFT_SUFFIX, replace_file

_PASSES = 5


def copy_file(source: Path, target: Path) -> None:
    """Copy a file with its times; what is at `target` is replaced. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(target) as draft:
        shutil.copy2(source, draft)


def copy_missing(source: Path, target: Path) -> int:
    """Copy every file that `target` lacks, drafts left out; returns how many those were. Raises OSError.

    Files may come and go meanwhile: what has taken the place of one that went is copied instead.
    """
    count = 0
    for _ in range(_PASSES):
        all_there = True
        for place, folders, names in os.walk(source):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(place, name)
                to = target / path.relative_to(source)
                if name.endswith(DRAFT_SUFFIX) or to.exists():
                    continue
                try:
                    copy_file(path, to)
                    count += 1
                except FileNotFoundError:
                    all_there = False
        if all_there:
            break
    return count

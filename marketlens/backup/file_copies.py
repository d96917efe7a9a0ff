"""Files copied one by one: whole or not at all, and never over one that is there."""

import os
import shutil
from pathlib import Path

_DRAFT = ".part"
_PASSES = 5


def copy_file(source: Path, target: Path) -> None:
    """Copy a file with its times; what is at `target` is replaced. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(target.name + _DRAFT)
    shutil.copy2(source, draft)
    draft.replace(target)


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
                if name.endswith(_DRAFT) or to.exists():
                    continue
                try:
                    copy_file(path, to)
                    count += 1
                except FileNotFoundError:
                    all_there = False
        if all_there:
            break
    return count

"""Copy files one by one, each completely or not at all."""

import os
import shutil
from pathlib import Path

from catalog.atomic_files import DRAFT_SUFFIX, replace_file

_PASSES = 5


def copy_file(source: Path, target: Path) -> None:
    """Copy a file with its times; replace an existing `target`. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(target) as draft:
        shutil.copy2(source, draft)


def copy_missing(source: Path, target: Path) -> int:
    """Copy every file that `target` lacks, except drafts; return how many were copied. Raises OSError.

    Files may appear and disappear meanwhile: if one is gone, walk again, because another may have replaced it.
    """
    count = 0
    for _ in range(_PASSES):
        complete = True
        for parent, folders, names in os.walk(source):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(parent, name)
                copy = target / path.relative_to(source)
                if name.endswith(DRAFT_SUFFIX) or copy.exists():
                    continue
                try:
                    copy_file(path, copy)
                    count += 1
                except FileNotFoundError:
                    complete = False
        if complete:
            break
    return count

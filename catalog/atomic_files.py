"""Write files and folders whole or not at all: first as a draft next to them (`NAME.part`), which is then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from catalog.errors import OutputFailed

DRAFT_SUFFIX = ".part"
"""The suffix of a draft. A kill leaves the draft behind: readers ignore it, and the next write replaces it."""


@contextmanager
def replace_file(path: Path, *, per_process: bool = False) -> Iterator[Path]:
    """Yield a draft to write into, which replaces the file at `path` at the end; the folder has to exist.

    If the block fails, `path` is unchanged and the draft is removed. `per_process` is for files that several
    processes may write at the same time: each has its own draft. Raises OSError.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}{DRAFT_SUFFIX}" if per_process else path.name + DRAFT_SUFFIX)
    try:
        yield draft
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)  # half a file would only fill the disk
        raise


def refuse_existing(folder: Path) -> None:
    """Raise OutputFailed if `folder` exists: a user's files are never overwritten."""
    if folder.exists():
        raise OutputFailed(f"{folder} exists already.", hint="Choose another name, or remove it first.")


@contextmanager
def new_folder(folder: Path, what: str) -> Iterator[Path]:
    """Yield a draft folder to write into, renamed to `folder` at the end; `what` names it in the error.

    If the block fails, the draft is removed. Raises OutputFailed.
    """
    refuse_existing(folder)
    draft = folder.with_name(folder.name + DRAFT_SUFFIX)
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        yield draft
        draft.rename(folder)
    except (OSError, SafetensorError) as error:
        raise OutputFailed(
            f"{what} {folder} could not be written: {error}", hint="Is there room, and is the folder writable?"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)

"""Folders that are made once: over nothing that is there, and whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from catalog.errors import OutputFailed


def refuse_existing(folder: Path) -> None:
    """Raise OutputFailed when there is something at `folder`: nothing of a user's is overwritten."""
    if folder.exists():
        raise OutputFailed(f"{folder} exists already.", hint="Choose another name, or remove it first.")


@contextmanager
def new_folder(folder: Path, what: str) -> Iterator[Path]:
    """Yield a draft to write into, which becomes `folder` at the end; `what` names it in the error.

    Raises OutputFailed; whatever happens, no half-made folder stays.
    """
    refuse_existing(folder)
    draft = folder.with_name(folder.name + ".part")
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

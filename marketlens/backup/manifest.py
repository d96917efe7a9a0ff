"""The layout of a backup, its `manifest.json`, and the check of its files against it."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from catalog.errors import BackupBroken, NotFound
from catalog.progress import Advance
from catalog.settings import IndexSettings

MANIFEST = "manifest.json"
PHOTOS, MODEL, VERDICTS, UPLOADS = "photos", "model", "verdicts.jsonl", "uploads"
LEDGER, INSIGHTS, GOLDEN = "ledger", "insights", "golden.parquet"


def _require_inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError(f"{name!r} is not a path inside a backup")
    return name


class Manifest(BaseModel):
    """Describes a backup. `files` maps paths inside it to sha256, hex; `changed_at` is the collection's, Unix seconds.

    `changed_meanwhile`: photos that were added or removed during the backup may or may not be in it. `uploads` is the
    absolute path of the folder that uploaded photos were in, because their records contain it.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    made_at: datetime
    made_by: str
    collection: str
    fingerprint: str
    dim: int
    index: IndexSettings
    changed_at: int
    changed_meanwhile: bool
    photos: int
    verdicts: int
    uploads: str
    files: dict[Annotated[str, AfterValidator(_require_inside)], str]

    def files_in(self, folder: str) -> Iterator[str]:
        """Return the paths of the files in a folder of the backup, relative to that folder."""
        return (name.removeprefix(f"{folder}/") for name in self.files if name.startswith(f"{folder}/"))


def read_manifest(backup: Path) -> Manifest:
    """Read `manifest.json`. Raises NotFound, BackupBroken."""
    try:
        return Manifest.model_validate_json((backup / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            f"There is no backup in {backup}: it has no {MANIFEST}.",
            hint="Name the folder that marketlens backup made. One that ends in .part is incomplete.",
        ) from error
    except OSError as error:
        raise BackupBroken(f"{backup / MANIFEST} cannot be read: {error}", hint=_HINT) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BackupBroken(
            f"{backup / MANIFEST} is invalid: {field} {first['msg']}",
            hint="Restore it with the version of marketlens that made it, or take another backup.",
        ) from error


def check_files(backup: Path, manifest: Manifest, advance: Advance) -> None:
    """Compare every file with its sha256; call `advance` for each. Raises BackupBroken for the first that differs."""
    for name, expected in manifest.files.items():
        try:
            found = sha256_of(backup / name)
        except OSError as error:
            raise BackupBroken(f"{backup / name} cannot be read: {error.strerror}.", hint=_HINT) from error
        if found != expected:
            raise BackupBroken(f"{backup / name} has changed since the backup was made.", hint=_HINT)
        advance(1)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_HINT = "Copy the backup here again, or restore another one; nothing was written."

"""What `manifest.json` says, and whether the files of a backup are those it was made of."""

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


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError(f"{name!r} is no path inside a backup")
    return name


class Manifest(BaseModel):
    """A backup in words. `files` maps paths inside it to sha256, hex; `changed_at` is the collection's, Unix seconds.

    `changed_meanwhile`: photos put or removed while it was made may or may not be in it. `uploads` is the absolute
    folder that uploaded photos were in: their records name it.
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
    files: dict[Annotated[str, AfterValidator(_inside)], str]

    def below(self, folder: str) -> Iterator[str]:
        """Paths of the files in one of its folders, as they are inside that."""
        return (name.removeprefix(f"{folder}/") for name in self.files if name.startswith(f"{folder}/"))


def read_manifest(backup: Path) -> Manifest:
    """Read `manifest.json`. Raises NotFound, BackupBroken."""
    try:
        return Manifest.model_validate_json((backup / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            f"There is no backup in {backup}: it has no {MANIFEST}.",
            hint="Name the folder that marketlens backup made. One that ends in .part was broken off: make another.",
        ) from error
    except OSError as error:
        raise BackupBroken(f"{backup / MANIFEST} cannot be read: {error}", hint=_ANOTHER) from error
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(str(part) for part in first["loc"])
        raise BackupBroken(
            f"{backup / MANIFEST} cannot be understood: {what} {first['msg']}",
            hint="Restore it with the version of marketlens that made it, or take another backup.",
        ) from error


def check_files(backup: Path, manifest: Manifest, advance: Advance) -> None:
    """Compare every file with its sha256; `advance` hears of each. Raises BackupBroken for the first that differs."""
    for name, expected in manifest.files.items():
        try:
            found = sha256_of(backup / name)
        except OSError as error:
            raise BackupBroken(f"{backup / name} cannot be read: {error.strerror}.", hint=_ANOTHER) from error
        if found != expected:
            raise BackupBroken(f"{backup / name} has changed since the backup was made.", hint=_ANOTHER)
        advance(1)


def sha256_of(path: Path) -> str:
    """Hash of a file's bytes, hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_ANOTHER = "Copy the backup here once more, or restore another one; nothing was written."

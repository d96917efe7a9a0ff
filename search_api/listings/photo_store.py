"""Cleans photos uploaded with a listing and stores them in a folder. See docs/decisions/0026."""

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from catalog.atomic_files import replace_file
from catalog.errors import OutputFailed
from catalog.listing import StoredPhoto
from embedding.photos import open_photo

LONGEST_SIDE = 2_048
_QUALITY = 92
_WRITABLE = "Is there room, and is the folder of MARKETLENS_API__PHOTOS writable?"


def clean(data: bytes) -> bytes:
    """Convert any photo to an upright JPEG of at most 2,048 pixels a side, without metadata. Raises PhotoUnusable.

    Without EXIF it does not reveal where or by whom it was taken; without trailing bytes it holds nothing but a photo.
    """
    image = open_photo(data, LONGEST_SIDE)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    image.info.clear()
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


class PhotoStore:
    """The folder of uploaded photos. A file belongs to one photo: its name is a hash of the photo's id and content."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def save(self, photo_id: str, data: bytes) -> Path:
        """Write a photo atomically. Raises OutputFailed."""
        name = f"{_hash(photo_id.encode())}-{_hash(data)}.jpg"
        path = self._folder / name[:2] / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replace_file(path) as draft:
                draft.write_bytes(data)
        except OSError as error:
            raise OutputFailed(f"The photo {photo_id!r} could not be saved: {error}", hint=_WRITABLE) from error
        return path

    def delete(self, photos: Iterable[StoredPhoto]) -> None:
        """Delete the files of those photos that are stored here; files of an export stay. Raises OutputFailed."""
        failure: OSError | None = None
        for stored in photos:
            path = Path(stored.photo.uri)
            if path.is_relative_to(self._folder):
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    failure = error
        if failure:
            raise OutputFailed(
                f"The catalogue was changed, but a photo file could not be deleted: {failure}", hint=_WRITABLE
            ) from failure


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]

"""Photos of a request: read from base64 or from the catalogue, decoded whole or in part."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from PIL import Image

from catalog.errors import InvalidQuery, NotFound, PhotoUnusable
from catalog.listing import StoredPhoto
from catalog.photo_files.files import read_photo
from embedding.photos import DECODE_SIDE, MIN_SIDE, open_photo
from search_api.schemas import Box

MAX_STORED_PHOTO_BYTES = 100_000_000
_READ_SECONDS = 10.0
_LARGEST_SIDE = 8 * DECODE_SIDE


@dataclass(frozen=True, slots=True)
class Picture:
    """A photo to decode: an upload, or (with its id) a photo of the catalogue, whose bytes are read on demand."""

    read: Callable[[], bytes]
    photo_id: str | None = None
    box: Box | None = None


def from_base64(text: str) -> bytes:
    """Decode a base64 text. Raises PhotoUnusable."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PhotoUnusable("not_base64", f"the photo is not base64: {error}") from error


def stored_picture(stored: StoredPhoto, box: Box | None = None) -> Picture:
    """Return a photo of the catalogue as a picture to decode."""
    return Picture(partial(read_stored, stored), stored.photo.photo_id, box)


def read_stored(stored: StoredPhoto) -> bytes:
    """Read the bytes of a photo of the catalogue from the place it was ingested from. Raises NotFound if they are gone.

    The photo's host may hang: call this in the stage `photos`. One attempt only, because a user waits.
    """
    try:
        return read_photo(stored.photo.uri, MAX_STORED_PHOTO_BYTES, _READ_SECONDS, patient=False)
    except PhotoUnusable as error:
        raise unreadable_file_error(stored.photo.photo_id) from error


def unreadable_file_error(photo_id: str) -> NotFound:
    """Return the error for a photo whose file is missing or no longer a photo."""
    return NotFound(
        f"The file of photo {photo_id!r} can no longer be read.", hint="Ingest the export again from its new place."
    )


def open_part(data: bytes, box: Box | None) -> Image.Image:
    """Decode a photo, or the part in the box. Raises PhotoUnusable, and InvalidQuery if that part is too small."""
    if box is None:
        return open_photo(data)
    # Decode a JPEG only as large as needed for the part to reach DECODE_SIDE.
    image = open_photo(data, int(min(DECODE_SIDE / min(box.width, box.height), _LARGEST_SIDE)))
    left, top = round(box.x * image.width), round(box.y * image.height)
    right, bottom = round((box.x + box.width) * image.width), round((box.y + box.height) * image.height)
    if min(right - left, bottom - top) < MIN_SIDE:
        raise InvalidQuery(
            f"The box covers {right - left} x {bottom - top} pixels of the photo; each side needs at least {MIN_SIDE}."
        )
    return image.crop((left, top, min(right, image.width), min(bottom, image.height)))

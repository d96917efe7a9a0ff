"""Photos of a request: from base64, from the catalogue, or a part of one."""

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
    """A photo to be decoded: an upload, or (with its id) one of the catalogue, whose bytes are elsewhere."""

    read: Callable[[], bytes]
    photo_id: str | None = None
    box: Box | None = None


def from_base64(text: str) -> bytes:
    """Raises PhotoUnusable."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PhotoUnusable("not_base64", f"the photo is not base64: {error}") from error


def stored_picture(stored: StoredPhoto, box: Box | None = None) -> Picture:
    """A photo of the catalogue."""
    return Picture(partial(read_stored, stored), stored.photo.photo_id, box)


def read_stored(stored: StoredPhoto) -> bytes:
    """Bytes of a photo of the catalogue, from where it was ingested. Raises NotFound when they are gone.

    Its host may hang: call it in the stage `photos`. One attempt, since somebody waits.
    """
    try:
        return read_photo(stored.photo.uri, MAX_STORED_PHOTO_BYTES, _READ_SECONDS, patient=False)
    except PhotoUnusable as error:
        raise gone(stored.photo.photo_id) from error


def gone(photo_id: str) -> NotFound:
    """What to say when the file of a photo cannot be read, or is none any more."""
    return NotFound(
        f"The file of photo {photo_id!r} can no longer be read.", hint="Ingest the export again from where it is."
    )


def open_part(data: bytes, box: Box | None) -> Image.Image:
    """Decode a photo, or the part of it in the box. Raises PhotoUnusable, and InvalidQuery for too small a part."""
    if box is None:
        return open_photo(data)
    # A JPEG is decoded at about the size that is needed: here, of the part.
    image = open_photo(data, int(min(DECODE_SIDE / min(box.width, box.height), _LARGEST_SIDE)))
    left, top = round(box.x * image.width), round(box.y * image.height)
    right, bottom = round((box.x + box.width) * image.width), round((box.y + box.height) * image.height)
    if min(right - left, bottom - top) < MIN_SIDE:
        raise InvalidQuery(
            f"The box holds {right - left} x {bottom - top} pixels of the photo; each side needs at least {MIN_SIDE}."
        )
    return image.crop((left, top, min(right, image.width), min(bottom, image.height)))

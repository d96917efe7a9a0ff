"""Bytes -> upright RGB image. One hardened decoder for training, ingest and query, so that all see the same pixels."""

import io
import struct
import warnings

from PIL import Image, ImageFile, UnidentifiedImageError

from catalog.errors import PhotoUnusable
from catalog.listing import Photo
from catalog.photo_files.hosts import Read

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
MAX_PIXELS = 64_000_000
MIN_SIDE = 16
# JPEGs are decoded at the smallest eighth of their size that has this many pixels per side: twice the model's input.
DECODE_SIDE = 512

# Pillow's default, set explicitly because it matters: a truncated photo is refused, not padded with grey.
ImageFile.LOAD_TRUNCATED_IMAGES = False

# open_photo has a stricter limit, checked before a pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
# Corrupt EXIF data is harmless; the photo is read anyway.
warnings.filterwarnings("ignore", message="Corrupt EXIF data", category=UserWarning)

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_photo(data: bytes, decode_side: int = DECODE_SIDE) -> Image.Image:
    """Decode a photo: upright (EXIF), RGB, transparency on white.

    Raises PhotoUnusable (`empty`, `not_an_image`, `too_many_pixels`, `too_small`, `truncated`).
    """
    if not data:
        raise PhotoUnusable("empty", "the photo is an empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise PhotoUnusable("not_an_image", f"not a photo in one of the formats {', '.join(FORMATS)}") from error
    width, height = image.size
    # Check before any pixel is decoded: a file of a few kilobytes can expand to gigabytes.
    if width * height > MAX_PIXELS:
        raise PhotoUnusable("too_many_pixels", f"{width} x {height} pixels; at most {MAX_PIXELS:,} are read")
    if min(width, height) < MIN_SIDE:
        raise PhotoUnusable("too_small", f"{width} x {height} pixels; each side needs at least {MIN_SIDE}")
    try:
        image.draft("RGB", (decode_side, decode_side))
        image.load()
        return _to_rgb(_make_upright(image))
    # Pillow's plugins raise any of these errors on damaged data.
    except (OSError, ValueError, SyntaxError, IndexError, EOFError, MemoryError) as error:
        raise PhotoUnusable("truncated", f"the photo is damaged or cut short: {error}") from error


def open_or_none(row: Photo, read: Read) -> Image.Image | None:
    """Read and open a row's photo; return None if it cannot be used."""
    try:
        return open_photo(read(row.uri))
    except PhotoUnusable:
        return None


def _make_upright(image: Image.Image) -> Image.Image:
    # ImageOps.exif_transpose rewrites the other EXIF fields and fails if one of them is invalid.
    try:
        transposition = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except (SyntaxError, ValueError, TypeError, struct.error, EOFError):
        transposition = None  # unreadable EXIF: do not rotate, as browsers do
    return image if transposition is None else image.transpose(transposition)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip at 255
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L").convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")

"""Bytes -> upright RGB image. One hardened decoder for training, ingest and query: two would be two truths."""

import io
import warnings

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from catalog.errors import PhotoUnusable

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
MAX_PIXELS = 64_000_000
MIN_SIDE = 16
# JPEGs are decoded at the smallest eighth that still has this many pixels a side: twice what the model looks at.
DECODE_SIDE = 512

# Pillow's default, stated because much rests on it: half a photo is refused, not padded with grey.
ImageFile.LOAD_TRUNCATED_IMAGES = False


def open_photo(data: bytes, decode_side: int = DECODE_SIDE) -> Image.Image:
    """Decode a photo: upright (EXIF), RGB, transparency on white.

    Raises PhotoUnusable (`not_an_image`, `too_many_pixels`, `too_small`, `truncated`).
    """
    try:
        with warnings.catch_warnings():
            # The pixel limit below is stricter than Pillow's warning.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise PhotoUnusable("too_many_pixels", str(error)) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise PhotoUnusable("not_an_image", f"not a photo in one of the formats {', '.join(FORMATS)}") from error
    width, height = image.size
    # Before any pixel is decoded: a file of a few kilobytes can stand for gigabytes.
    if width * height > MAX_PIXELS:
        raise PhotoUnusable("too_many_pixels", f"{width} x {height} pixels; at most {MAX_PIXELS:,} are read")
    if min(width, height) < MIN_SIDE:
        raise PhotoUnusable("too_small", f"{width} x {height} pixels; each side needs at least {MIN_SIDE}")
    try:
        image.draft("RGB", (decode_side, decode_side))
        image.load()
        return _flatten(ImageOps.exif_transpose(image))
    # Pillow's plugins raise any of these on damaged data.
    except (OSError, ValueError, SyntaxError, IndexError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise PhotoUnusable("truncated", f"the photo is damaged or cut short: {error}") from error


def _flatten(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from catalog.errors import PhotoUnusable
from embedding.photos import MAX_PIXELS, open_photo
from tests.support.data.pictures import jpeg, picture

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(pixels: NDArray[np.integer], colour: int) -> bytes:
    """Encode samples of 8 or 16 bits as PNG; Pillow cannot write 16-bit colours."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = pixels.shape[:2]
    bits = 8 * pixels.itemsize
    lines = b"".join(b"\0" + line.astype(f">u{pixels.itemsize}").tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    """Build an EXIF block of entries (tag, type, count, value), also of those that Pillow would not write."""
    table = b"".join(struct.pack(">HHI4s", *entry) for entry in entries)
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", len(entries)) + table + b"\0\0\0\0"


def orientation_entry(orientation: int) -> tuple[int, int, int, bytes]:
    return 0x0112, 3, 1, struct.pack(">HH", orientation, 0)


def is_near(image: Image.Image, xy: tuple[int, int], colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(np.subtract(image.getpixel(xy), colour)).max() <= 12)


def reason(data: bytes) -> str:
    with pytest.raises(PhotoUnusable) as error:
        open_photo(data)
    return error.value.reason


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "MPO"])
def test_formats(kind: str) -> None:
    """The formats of phones and shops are read as RGB, with the same size and colours."""
    half = Image.new("RGB", (80, 60), RED)
    half.paste(BLUE, (0, 0, 40, 60))
    more = {"save_all": True, "append_images": [half]} if kind == "MPO" else {}
    image = open_photo(encode(half, kind, **more))
    assert (image.mode, image.size) == ("RGB", (80, 60))
    assert is_near(image, (10, 30), BLUE)
    assert is_near(image, (70, 30), RED)


@pytest.mark.parametrize("kind", ["TIFF", "PPM", "ICO", "TGA", "PDF"])
def test_other_formats(kind: str) -> None:
    """Formats that are not used for photos are refused: each would be one more decoder to attack."""
    assert reason(encode(picture(1), kind)) == "not_an_image"


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a"]
)
def test_no_photo(data: bytes) -> None:
    """Empty files, text and bare signatures are not photos."""
    assert reason(data) in ({"not_an_image", "truncated"} if data else {"empty"})


@pytest.mark.parametrize(
    ("orientation", "size", "corner"),
    [(1, (80, 60), (5, 5)), (3, (80, 60), (75, 55)), (6, (60, 80), (55, 5)), (8, (60, 80), (5, 75))],
)
def test_upright(orientation: int, size: tuple[int, int], corner: tuple[int, int]) -> None:
    """A photo of a phone held sideways becomes upright, as EXIF says."""
    image = Image.new("RGB", (80, 60), WHITE)
    image.paste(RED, (0, 0, 20, 20))
    upright = open_photo(jpeg(image, exif=exif(orientation_entry(orientation))))
    assert upright.size == size
    assert is_near(upright, corner, RED)
    assert is_near(upright, (30, 40), WHITE)


@pytest.mark.parametrize(
    "entry",
    [
        (0x011A, 2, 4, b"72\0\0"),  # a resolution that is text
        (0x0100, 2, 3, b"80\0\0"),  # a width that is text
        (0x0128, 2, 2, b"a\0\0\0"),  # a unit that is text
        (0x02BC, 2, 3, b"80\0\0"),  # an XMP block that is text
    ],
)
def test_broken_exif(entry: tuple[int, int, int, bytes]) -> None:
    """A photo with invalid EXIF is read or refused; it does not end the run."""
    data = jpeg(picture(1, (80, 60)), exif=exif(orientation_entry(6), entry))
    with contextlib.suppress(PhotoUnusable):
        assert sorted(open_photo(data).size) == [60, 80]


def palette(colour: tuple[int, int, int]) -> Image.Image:
    image = Image.new("P", (32, 32), 1)
    image.putpalette([*RED, *colour])
    return image


@pytest.mark.parametrize(
    ("data", "colour"),
    [
        (encode(Image.new("RGBA", (32, 32), (0, 0, 0, 0)), "PNG"), WHITE),
        (encode(Image.new("RGBA", (32, 32), (255, 0, 0, 128)), "PNG"), (255, 127, 127)),
        (encode(Image.new("RGBA", (32, 32), (0, 0, 0, 0)), "WEBP", lossless=True), WHITE),
        (encode(Image.new("LA", (32, 32), (0, 0)), "PNG"), WHITE),
        (encode(Image.new("L", (32, 32), 77), "PNG", transparency=77), WHITE),
        (encode(palette(BLUE), "PNG"), BLUE),
        (encode(palette(BLUE), "PNG", transparency=1), WHITE),
        (encode(palette(BLUE), "GIF", transparency=1), WHITE),
        (encode(Image.new("1", (32, 32), 1), "PNG"), WHITE),
        (encode(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG"), RED),
        (jpeg(Image.new("L", (32, 32), 77)), (77, 77, 77)),
    ],
    ids=["rgba", "half", "webp", "grey_alpha", "grey_key", "palette", "palette_key", "gif", "1_bit", "cmyk", "grey"],
)
def test_modes(data: bytes, colour: tuple[int, int, int]) -> None:
    """Every colour mode becomes RGB, and transparent pixels become white."""
    image = open_photo(data)
    assert image.mode == "RGB"
    assert is_near(image, (16, 16), colour)


@pytest.mark.parametrize("colour", [0, 2, 4, 6], ids=["grey", "rgb", "grey_alpha", "rgba"])
def test_16_bit(colour: int) -> None:
    """A PNG with 16 bits per sample is read like the same PNG with 8 bits."""
    ramp = np.linspace(0, 255, 64 * 64).astype(np.uint8).reshape(64, 64)
    channels = {0: [ramp], 2: [ramp, ramp.T, ramp], 4: [ramp, ramp.T], 6: [ramp, ramp.T, ramp, ramp]}[colour]
    pixels = np.stack(channels, axis=-1)
    shallow, deep = open_photo(png(pixels, colour)), open_photo(png(pixels.astype(np.uint16) * 257, colour))
    largest_difference = int(np.abs(np.asarray(shallow).astype(int) - np.asarray(deep)).max())
    assert largest_difference <= 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("part", [0.02, 0.1, 0.5, 0.9, 0.99])
def test_cut_short(kind: str, part: float) -> None:
    """A truncated photo is refused, not padded with grey."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
    data = encode(noise, kind)
    assert reason(data[: int(len(data) * part)]) in {"truncated", "not_an_image"}


@pytest.mark.parametrize("size", [(1, 1), (15, 400), (400, 15)])
def test_too_small(size: tuple[int, int]) -> None:
    """A tracking pixel or a line is refused."""
    assert reason(encode(Image.new("RGB", size), "PNG")) == "too_small"
    assert open_photo(encode(Image.new("RGB", (16, 16)), "PNG")).size == (16, 16)


@pytest.mark.parametrize("size", [(20_000, 20_000), (8_001, 8_000)])
def test_too_many_pixels(size: tuple[int, int]) -> None:
    """A small file that expands to gigabytes is refused by its header, before any pixel is decoded."""
    data = encode(Image.new("1", size), "PNG")
    assert len(data) < 100_000
    assert size[0] * size[1] > MAX_PIXELS
    # Only the first bytes: decoding them would give `truncated`.
    assert reason(data[:1_000]) == reason(data) == "too_many_pixels"


def test_big_jpeg() -> None:
    """A large JPEG is decoded at a fraction of its size, but at least at twice the model's input size."""
    gradient = Image.linear_gradient("L").convert("RGB")
    assert open_photo(jpeg(gradient.resize((4000, 3000)))).size == (1000, 750)
    assert min(open_photo(jpeg(gradient.resize((4000, 600)))).size) >= 512
    assert open_photo(jpeg(gradient.resize((1000, 1000)))).size == (1000, 1000)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_garbage() -> None:
    """A damaged photo is read or refused with PhotoUnusable; no other error is raised."""
    photos = [
        jpeg(picture(1), exif=exif(orientation_entry(6))),
        *(encode(picture(1), kind) for kind in ("PNG", "WEBP", "GIF", "BMP")),
    ]
    random = np.random.default_rng(0)
    for seed in range(200):
        with contextlib.suppress(PhotoUnusable):
            open_photo(photos[0][:24] + random.bytes(2_000))
        data = bytearray(photos[seed % len(photos)])
        for place in random.integers(0, len(data), 10):
            data[place] = random.integers(0, 256)
        with contextlib.suppress(PhotoUnusable):
            assert open_photo(bytes(data)).mode == "RGB"

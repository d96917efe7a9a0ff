"""Broken photos: truncated, corrupted, malicious and other files that are not proper photos."""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache

from embedding.photos import FORMATS
from tests.support.data.pictures import jpeg, picture

SEEDS = [picture(1), picture(2, (300, 200)), picture(3, (40, 500)).convert("L"), picture(4).convert("RGBA")]


def whole(chance: random.Random) -> bytes:
    image = chance.choice(SEEDS)
    kind = chance.choice((*FORMATS, "TIFF", "ICO", "PPM"))
    buffer = io.BytesIO()
    options = {"progressive": True} if kind == "JPEG" and chance.random() < 0.5 else {}
    image.convert("RGB" if kind in {"JPEG", "PPM"} else image.mode).save(buffer, kind, **options)
    return buffer.getvalue()


def truncated(chance: random.Random) -> bytes:
    data = whole(chance)
    return data[: chance.randrange(len(data))]


def flipped(chance: random.Random) -> bytes:
    data = bytearray(whole(chance))
    for _ in range(chance.choice((1, 3, 30))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def spliced(chance: random.Random) -> bytes:
    """Join the head of one photo to the tail of another."""
    head, tail = whole(chance), whole(chance)
    return head[: chance.randrange(len(head))] + tail[chance.randrange(len(tail)) :]


def other_head(chance: random.Random) -> bytes:
    heads = (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF\xff\xff\xff\xffWEBPVP8 ", b"II*\x00")
    return chance.choice(heads) + chance.randbytes(chance.randrange(4_000))


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *more: bytes, rows: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


@cache
def endless_text() -> bytes:
    """Compressed text that unpacks to 50 MB."""
    return zlib.compress(bytes(50_000_000), 9)


def bomb(chance: random.Random) -> bytes:
    """A few kilobytes that expand to gigabytes of pixels, text or frames."""
    side = chance.choice((9_000, 60_000, 2**31 - 1))
    kind = chance.randrange(4)
    if kind == 0:
        return png(side, side, rows=bytes(100_000))
    if kind == 1:
        return png(64, 64, chunk(b"zTXt", b"a\0\0" + endless_text()), rows=bytes(64 * 193))
    if kind == 2:
        return b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b"\x2c" + bytes(8) + b"\x02\x00\x3b"
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, side, -side, 1, 24, 0, 0, 0, 0, 0, 0)


def polyglot(chance: random.Random) -> bytes:
    """A photo that is also a valid file of another kind; shown as a photo, it is harmless."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.html", "<script>alert(1)</script>" * 10)
    return whole(chance) + chance.choice(
        (archive.getvalue(), b"<?php system($_GET[0]); ?>", b"<html><script></script>")
    )


def something_else(chance: random.Random) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", bytes(1_000_000))
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(/etc/passwd) (r) file\n"
    others = (b"", b"\0", archive.getvalue(), b"<!doctype html><p>no photo", svg, postscript, b"%PDF-1.7\n", b"\x7fELF")
    return chance.choice((*others, chance.randbytes(chance.randrange(1, 2_000))))


def odd_exif(chance: random.Random) -> bytes:
    exif = b"Exif\0\0" + chance.choice((b"II*\0", b"MM\0*", b"")) + chance.randbytes(chance.randrange(60))
    return jpeg(picture(chance.randrange(9)), exif=exif)


KINDS = (truncated, flipped, spliced, other_head, bomb, polyglot, something_else, odd_exif)


def corpus(files: int) -> Iterator[tuple[str, bytes]]:
    for number in range(files):
        make = KINDS[number % len(KINDS)]
        yield f"{make.__name__} {number}", make(random.Random(number))  # noqa: S311 - the same files each time

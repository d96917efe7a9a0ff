"""Two thousand files that are no proper photos, through the whole service: an answer to each, none a failure."""

import io
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psutil
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from catalog.collection import PhotoCollection
from catalog.settings import ApiSettings, IndexSettings, MilvusSettings, Settings
from embedding.embedder import Embedder
from embedding.photos import FORMATS, MAX_PIXELS, open_photo
from search_api.app import create_app
from tests.support.catalogues import ingest_export
from tests.support.exports import MakeExport
from tests.support.pictures import jpeg, picture

# More with MARKETLENS_TEST_BROKEN=20000.
FILES = int(os.environ.get("MARKETLENS_TEST_BROKEN", "2000"))
# One photo of the most pixels that are taken is 192 MB when decoded, and is flattened from one copy into another.
MEMORY = 8 * MAX_PIXELS

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
    """The head of one, the tail of another."""
    one, other = whole(chance), whole(chance)
    return one[: chance.randrange(len(one))] + other[chance.randrange(len(other)) :]


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
    """It unpacks to 50 MB."""
    return zlib.compress(bytes(50_000_000), 9)


def bomb(chance: random.Random) -> bytes:
    """A few kilobytes that stand for gigabytes: of pixels, of text, of frames."""
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
    """A photo that is something else as well; shown as a photo, it is harmless."""
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


def corpus() -> Iterator[tuple[str, bytes]]:
    for number in range(FILES):
        make = KINDS[number % len(KINDS)]
        yield f"{make.__name__} {number}", make(random.Random(number))  # noqa: S311 - the same files each time


@pytest.fixture
def client(make_export: MakeExport, embedder: Embedder, lite: MilvusSettings, tmp_path: Path) -> Iterator[TestClient]:
    photos = PhotoCollection.connect(lite, IndexSettings(), consistency="Session")
    ingest_export(make_export(listings=2), embedder, photos)
    settings = ApiSettings(keys=tmp_path / "keys.json", recall_seconds=0)
    with TestClient(create_app(Settings(api=settings), embedder, photos)) as client:
        yield client


def test_broken_images(client: TestClient) -> None:
    """Each is a photo after all, or refused with a reason; none crashes, hangs, or leaves memory behind."""
    process = psutil.Process()
    before, highest, statuses = process.memory_info().rss, 0, []
    for name, data in corpus():
        answer = client.post("/v1/search", files={"photo": ("p.jpg", data)})
        # What takes longer than decode_seconds is answered with 503.
        assert answer.status_code in {200, 422}, f"{name}: {answer.text}"
        if answer.status_code == 422:
            assert answer.json()["code"] == "photo_unusable", f"{name}: {answer.text}"
        statuses.append(answer.status_code)
        highest = max(highest, process.memory_info().rss)
    assert statuses.count(200) > FILES / 20
    assert statuses.count(422) > FILES / 3
    assert highest - before < MEMORY
    assert client.post("/v1/search", files={"photo": ("p.jpg", jpeg(picture(1)))}).status_code == 200


def test_the_largest_photo(client: TestClient) -> None:
    """As many pixels as are taken, in a format that cannot be decoded smaller: an answer, or 503 in time."""
    buffer = io.BytesIO()
    Image.new("RGBA", (8_000, 8_000), "red").save(buffer, "PNG")
    assert client.post("/v1/search", files={"photo": ("p.png", buffer.getvalue())}).status_code in {200, 503}


def test_other_formats_are_not_even_opened() -> None:
    """What is not on the list of formats is no photo, whatever Pillow could make of it: EPS would start Ghostscript."""
    for kind in ("TIFF", "ICO", "PPM", "TGA", "EPS", "PDF"):
        buffer = io.BytesIO()
        picture(1).save(buffer, kind)
        with pytest.raises(Exception, match="not a photo in one of the formats"):
            open_photo(buffer.getvalue())

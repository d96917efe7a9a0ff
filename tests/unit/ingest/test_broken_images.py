"""Hundreds or thousands of files that are no proper photos, through the whole service: an answer to each."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from catalog.settings import ApiSettings, IndexSettings, MilvusSettings, Settings
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from embedding.photos import MAX_PIXELS, open_photo
from search_api.app import create_app
from tests.support.broken_photos import corpus
from tests.support.catalogues import ingest_export
from tests.support.exports import MakeExport
from tests.support.pictures import jpeg, picture

# More with MARKETLENS_TEST_BROKEN=20000.
FILES = int(os.environ.get("MARKETLENS_TEST_BROKEN", "2000"))
# One photo of the most pixels that are taken is 192 MB when decoded, and is flattened from one copy into another.
MEMORY = 8 * MAX_PIXELS


@pytest.fixture
def client(make_export: MakeExport, embedder: Embedder, lite: MilvusSettings, tmp_path: Path) -> Iterator[TestClient]:
    photos = PhotoCollection.connect(lite, IndexSettings(), consistency="Session")
    ingest_export(make_export(listings=2), embedder, photos)
    settings = ApiSettings(keys=tmp_path / "keys.json", recall_seconds=0)
    with TestClient(create_app(Settings(api=settings), embedder, photos)) as client:
        yield client


@pytest.mark.parametrize("files", [240, pytest.param(FILES, marks=pytest.mark.slow)])
def test_broken_images(client: TestClient, files: int) -> None:
    """Each is a photo after all, or refused with a reason; none crashes, hangs, or leaves memory behind."""
    process = psutil.Process()
    before, highest, statuses = process.memory_info().rss, 0, []
    for name, data in corpus(files):
        answer = client.post("/v1/search", files={"photo": ("p.jpg", data)})
        # What takes longer than decode_seconds is answered with 503.
        assert answer.status_code in {200, 422}, f"{name}: {answer.text}"
        if answer.status_code == 422:
            assert answer.json()["code"] == "photo_unusable", f"{name}: {answer.text}"
        statuses.append(answer.status_code)
        highest = max(highest, process.memory_info().rss)
    assert statuses.count(200) > files / 20
    assert statuses.count(422) > files / 3
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

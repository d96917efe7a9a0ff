"""Send hundreds or thousands of broken photos to the whole service: it answers each of them."""

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
from tests.support.data.broken_photos import corpus
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport
from tests.support.data.pictures import jpeg, picture

# MARKETLENS_TEST_BROKEN=20000 tests more files.
FILES = int(os.environ.get("MARKETLENS_TEST_BROKEN", "2000"))
# A photo with the largest accepted number of pixels takes 192 MB when decoded, and flattening makes a second copy.
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
    """Each file is accepted as a photo or refused with a reason; none causes a crash, a hang or a memory leak."""
    process = psutil.Process()
    rss_before, peak_rss, statuses = process.memory_info().rss, 0, []
    for name, data in corpus(files):
        answer = client.post("/v1/search", files={"photo": ("p.jpg", data)})
        # A photo that takes longer than decode_seconds to decode would be answered with 503.
        assert answer.status_code in {200, 422}, f"{name}: {answer.text}"
        if answer.status_code == 422:
            assert answer.json()["code"] == "photo_unusable", f"{name}: {answer.text}"
        statuses.append(answer.status_code)
        peak_rss = max(peak_rss, process.memory_info().rss)
    assert statuses.count(200) > files / 20
    assert statuses.count(422) > files / 3
    assert peak_rss - rss_before < MEMORY
    assert client.post("/v1/search", files={"photo": ("p.jpg", jpeg(picture(1)))}).status_code == 200


def test_the_largest_photo(client: TestClient) -> None:
    """The largest accepted photo, in a format that cannot be decoded smaller, gets results, or 503 in time."""
    buffer = io.BytesIO()
    Image.new("RGBA", (8_000, 8_000), "red").save(buffer, "PNG")
    assert client.post("/v1/search", files={"photo": ("p.png", buffer.getvalue())}).status_code in {200, 503}


def test_other_formats_are_not_opened() -> None:
    """Formats that are not on the list are refused, even if Pillow can read them: EPS would start Ghostscript."""
    for kind in ("TIFF", "ICO", "PPM", "TGA", "EPS", "PDF"):
        buffer = io.BytesIO()
        picture(1).save(buffer, kind)
        with pytest.raises(Exception, match="not a photo in one of the formats"):
            open_photo(buffer.getvalue())

"""Replacing and removing listings through the API, and the files of their photos."""

import base64
import errno
import io
import resource
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from catalog.errors import OutputFailed
from catalog.listing import Embeddings
from catalog.settings import MilvusSettings
from catalog.store.collection import PhotoCollection
from catalog.store.reader import CollectionReader
from catalog.store.writer import CollectionWriter
from embedding.embedder import Embedder
from search_api.listings.photo_store import LONGEST_SIDE, PhotoStore, clean
from tests.support.data.exports import MakeExport
from tests.support.data.models import FakeEngine
from tests.support.data.pictures import jpeg, picture
from tests.support.servers.serving import make_app, put


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "photos"


@pytest.fixture
def client(make_export: MakeExport, embedder: Embedder, lite: MilvusSettings, folder: Path) -> Iterator[TestClient]:
    """A service with four listings of two photos, l0 to l3."""
    with TestClient(make_app(make_export(listings=4, photos_each=2), embedder, lite, photos=folder)) as client:
        yield client


def first(client: TestClient, photo: bytes) -> dict[str, Any]:
    answer = client.post("/v1/search", files={"photo": ("p.jpg", photo, "image/jpeg")}).json()
    hit: dict[str, Any] = answer["hits"][0]
    return hit


def stored_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


SOFA = {
    "title": "Sofa",
    "category": "Home",
    "subcategory": "Sofas",
    "price": 120.5,
    "currency": "GBP",
    "location": "Leeds",
    "listed_at": "2024-05-01T10:00:00Z",
}


def test_a_listing_is_put_found_and_removed(client: TestClient, folder: Path) -> None:
    """A new listing is found by its photo, returned with its fields and image, and gone after its removal."""
    photos = [{"photo_id": "front", "upload": 1}, {"photo_id": "back", "upload": 0}]
    made = put(client, "sofa", SOFA | {"photos": photos}, jpeg(picture(91)), jpeg(picture(90)))
    assert made.status_code == 201, made.text
    assert made.json() == client.get("/v1/listings/sofa").json()
    assert {name: made.json()[name] for name in SOFA} == SOFA
    hit = first(client, jpeg(picture(90)))
    assert (hit["listing_id"], hit["photo_id"]) == ("sofa", "front")
    assert hit["score"] > 0.99
    assert client.get(hit["photo_url"]).headers["content-type"] == "image/jpeg"
    assert len(stored_files(folder)) == 2
    assert client.get("/readyz").json()["photos"] == 10
    assert client.delete("/v1/listings/sofa").json() == {"listing_id": "sofa", "photos": 2}
    assert first(client, jpeg(picture(90)))["listing_id"] != "sofa"
    assert stored_files(folder) == []
    again = client.delete("/v1/listings/sofa")
    assert (again.status_code, client.get("/v1/listings/sofa").status_code) == (404, 404)
    ready = client.get("/readyz").json()
    assert (ready["photos"], ready["lost_photos"]) == (8, 0)


def test_a_photo_that_is_there_need_not_be_sent_again(client: TestClient, folder: Path, engine: FakeEngine) -> None:
    """A new price embeds nothing; a photo that is not named is removed; a photo sent again replaces the old one."""
    encoded = [base64.b64encode(jpeg(picture(seed))).decode() for seed in (90, 91, 92)]
    photos = [{"photo_id": f"p{n}", "photo_base64": encoded[n]} for n in (0, 1)]
    assert put(client, "sofa", SOFA | {"photos": photos}).status_code == 201
    before, files = engine.photos, stored_files(folder)
    cheaper = SOFA | {"price": 99, "listed_at": None, "photos": [{"photo_id": "p0"}, {"photo_id": "p1"}]}
    answer = put(client, "sofa", cheaper)
    assert (answer.status_code, answer.json()["price"]) == (200, 99)
    assert answer.json()["listed_at"] == SOFA["listed_at"]
    assert (engine.photos, stored_files(folder)) == (before, files)
    assert first(client, jpeg(picture(91)))["price"] == 99
    changed = SOFA | {"photos": [{"photo_id": "p0", "photo_base64": encoded[2]}]}
    assert put(client, "sofa", changed).status_code == 200
    assert len(stored_files(folder)) == 1
    assert first(client, jpeg(picture(92)))["listing_id"] == "sofa"
    assert first(client, jpeg(picture(90)))["score"] < 0.9


def test_a_listing_of_the_export_can_be_changed(client: TestClient, folder: Path) -> None:
    """Its photos keep their files in the export; removing the listing deletes none of them."""
    answer = put(client, "l2", {"title": "Another", "photos": [{"photo_id": "l2-0"}]})
    assert (answer.status_code, answer.json()["title"]) == (200, "Another")
    assert client.get("/v1/photos/l2-0/image").status_code == 200
    assert client.get("/v1/photos/l2-1/image").status_code == 404
    files = list((folder.parent / "export" / "images").iterdir())
    assert client.delete("/v1/listings/l2").status_code == 200
    assert list((folder.parent / "export" / "images").iterdir()) == files


@pytest.mark.parametrize(
    ("listing", "status", "words"),
    [
        ({"photos": []}, 422, "photos"),
        ({"photos": [{"photo_id": "new"}]}, 422, "'new' is not stored and was not sent"),
        ({"photos": [{"photo_id": "l1-0"}]}, 409, "belongs to the listing 'l1'"),
        ({"photos": [{"photo_id": "p", "upload": 0}]}, 422, "0 photos were uploaded"),
        ({"photos": [{"photo_id": "p", "photo_base64": "bm8gcGhvdG8="}]}, 422, "not a photo"),
        ({"photos": [{"photo_id": "p", "photo_base64": "?"}]}, 422, "not base64"),
        ({"photos": [{"photo_id": "a\x00b", "photo_base64": "bm8="}]}, 422, "control character"),
        ({"photos": [{"photo_id": "ü" * 300, "photo_base64": "bm8="}]}, 422, "512 bytes"),
        ({"photos": [{"photo_id": "l0-0"}] * 2}, 422, "the same photo_id"),
        ({"photos": [{"photo_id": "l0-0"}], "price": -1}, 422, "price"),
        ({"photos": [{"photo_id": "l0-0"}], "colour": "red"}, 422, "colour"),
        ({"photos": [{"photo_id": "l0-0"}], "listed_at": "soon"}, 422, "listed_at"),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
def test_what_cannot_be_stored_changes_nothing(
    client: TestClient, folder: Path, listing: dict[str, object], status: int, words: str
) -> None:
    """The error says what is invalid; the listing and the folder stay unchanged."""
    before = client.get("/v1/listings/l0").json()
    answer = put(client, "l0", listing)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
    assert client.get("/v1/listings/l0").json() == before
    assert stored_files(folder) == []


def test_each_upload_belongs_to_one_photo(client: TestClient) -> None:
    """An upload that no photo_id names is refused: otherwise it would be dropped silently."""
    answer = put(client, "l9", {"photos": [{"photo_id": "p", "upload": 1}]}, jpeg(picture(1)), jpeg(picture(2)))
    assert answer.status_code == 422
    assert "2 photos were uploaded, but the fields `upload` name [1]" in answer.json()["detail"]


def test_odd_texts_are_stored_as_they_are(client: TestClient) -> None:
    """Emoji, quotes and line breaks are stored unchanged; a control character becomes a space, as in an export."""
    title = 'A "sofa" 🛋️\nwith \\ and \x00 in it'
    photo = base64.b64encode(jpeg(picture(90))).decode()
    listing = {"title": title, "photos": [{"photo_id": "a/b c?#🛋️", "photo_base64": photo}]}
    made = put(client, "odd%2Fid%20%22x%22", listing)
    assert made.json()["title"] == title.replace("\x00", " ")
    assert (made.json()["listing_id"], made.status_code) == ('odd/id "x"', 201)
    assert client.get(made.json()["photos"][0]["photo_url"]).status_code == 200


def test_metadata_is_removed_from_stored_photos(client: TestClient, folder: Path) -> None:
    """The stored file is upright, without EXIF, comment or trailing bytes; the picture is the same."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Owner's phone"
    exif.get_ifd(0x8825)[1] = "N"
    upright = picture(90, (300, 400))
    sent = jpeg(upright.rotate(90, expand=True), exif=exif, comment=b"51.5N 0.1W") + b"and a message"
    photos = [{"photo_id": "p", "upload": 0}]
    assert put(client, "sofa", {"photos": photos}, sent).status_code == 201
    (path,) = stored_files(folder)
    data = path.read_bytes()
    for secret in (b"Exif", b"phone", b"51.5N", b"message"):
        assert secret in sent
        assert secret not in data
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.size, dict(image.getexif())) == ("JPEG", (300, 400), {})
    assert np.abs(np.asarray(image, int) - np.asarray(upright, int)).mean() < 4
    stored = client.post("/v1/search", json={"photo_id": "p", "include": ["payload"]})
    assert stored.status_code == 200


def test_every_format_becomes_a_jpeg_of_modest_size() -> None:
    """PNG with transparency, WebP and large photos become JPEGs of at most 2,048 pixels a side."""
    for image, kind in ((Image.new("RGBA", (64, 64), (255, 0, 0, 0)), "PNG"), (picture(1), "WEBP")):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        assert Image.open(io.BytesIO(clean(buffer.getvalue()))).format == "JPEG"
    assert Image.open(io.BytesIO(clean(jpeg(Image.new("RGB", (5_000, 2_500)))))).size == (LONGEST_SIDE, 1_024)


def test_a_full_disk_leaves_no_half_photo(tmp_path: Path) -> None:
    """A photo that could not be written completely is deleted, so that it does not fill the disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OutputFailed, match="'p'"):
            PhotoStore(tmp_path / "photos").save("p", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert stored_files(tmp_path) == []


def test_a_file_that_cannot_be_deleted_is_reported(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a read-only disk the listing is removed, and the error names the file that stays: 507, not 500."""
    assert put(client, "sofa", {"photos": [{"photo_id": "p", "upload": 0}]}, jpeg(picture(1))).status_code == 201

    def refuse(path: Path, **_: bool) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        answer = client.delete("/v1/listings/sofa")
    assert answer.status_code == 507
    assert str(stored_files(folder)[0]) in answer.json()["detail"]
    assert client.get("/v1/listings/sofa").status_code == 404


def test_a_store_that_fails_leaves_no_file(client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Milvus fails to write the record, the saved photo file is deleted."""
    from catalog.errors import StoreUnreachable

    def fail(*_: object) -> None:
        raise StoreUnreachable("away")

    monkeypatch.setattr(CollectionWriter, "upsert", fail)
    answer = put(client, "sofa", {"photos": [{"photo_id": "p", "upload": 0}]}, jpeg(picture(1)))
    assert answer.status_code == 503
    assert stored_files(folder) == []


def test_each_change_on_a_server_knows_of_the_one_before(
    make_export: MakeExport, embedder: Embedder, milvus_server: str, folder: Path
) -> None:
    """Changes in quick succession see each other, although searches on the server lag by a second."""
    milvus = MilvusSettings(uri=milvus_server, alias=f"photos_{uuid.uuid4().hex[:8]}")
    app = make_app(make_export(listings=2), embedder, milvus, "Bounded", photos=folder)
    with TestClient(app) as client:
        # As after an interrupted ingest. Otherwise each change ends with a count, which brings the server up to date.
        app.state.catalogue.photos.notes.begin_changes()
        for seed in (90, 91):
            sent = {"photos": [{"photo_id": "p", "upload": 0}]}
            assert put(client, "sofa", sent, jpeg(picture(seed))).status_code == 201
            by_id = put(client, "sofa", {"price": 9, "photos": [{"photo_id": "p"}]})
            assert (by_id.status_code, by_id.json()["price"]) == (200, 9)
            assert put(client, "bed", sent, jpeg(picture(seed))).status_code == 409
            assert len(stored_files(folder)) == 1
            assert client.delete("/v1/listings/sofa").json()["photos"] == 1
            assert (client.delete("/v1/listings/sofa").status_code, stored_files(folder)) == (404, [])


@pytest.mark.parametrize("other", ["another photo", "removed"])
def test_changes_at_once_leave_each_photo_its_file(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """While a change keeps the photo, another change replaces the photo or removes the listing.

    Whichever is last, every stored photo has its file, and no other file is left.
    """
    sent = {"photos": [{"photo_id": "p", "upload": 0}]}
    assert put(client, "sofa", sent, jpeg(picture(90))).status_code == 201
    has_read, done, embeddings = threading.Event(), threading.Event(), CollectionReader.embeddings

    def pausing(self: PhotoCollection, photo_ids: Sequence[str], **options: bool) -> Embeddings:
        found = embeddings(self, photo_ids, **options)
        has_read.set()
        done.wait(1)  # long enough for the other change, unless a lock blocks it
        return found

    monkeypatch.setattr(CollectionReader, "embeddings", pausing)
    with ThreadPoolExecutor(1) as pool:
        by_id = pool.submit(put, client, "sofa", {"price": 9, "photos": [{"photo_id": "p"}]})
        assert has_read.wait(10)
        if other == "removed":
            assert client.delete("/v1/listings/sofa").status_code == 200
        else:
            assert put(client, "sofa", sent, jpeg(picture(91))).status_code == 200
        done.set()
        assert by_id.result().status_code == 200
    stored_photos = client.app.state.catalogue.photos.reader.stored(["p"]).values()
    assert [str(path) for path in stored_files(folder)] == [stored.photo.uri for stored in stored_photos]


def test_a_photo_becomes_one_listings_alone(client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If two listings add a photo with the same new id at once, the second is refused."""
    both, save = threading.Barrier(2), PhotoStore.save

    def pausing(self: PhotoStore, photo_id: str, data: bytes) -> Path:
        with suppress(threading.BrokenBarrierError):
            both.wait(1)  # so that the other change gets here too, unless a lock blocks it
        return save(self, photo_id, data)

    monkeypatch.setattr(PhotoStore, "save", pausing)
    sent = {"photos": [{"photo_id": "p", "upload": 0}]}
    with ThreadPoolExecutor(2) as pool:
        changes = [pool.submit(put, client, listing, sent, jpeg(picture(90))) for listing in ("sofa", "bed")]
        assert sorted(change.result().status_code for change in changes) == [201, 409]
    assert len(stored_files(folder)) == 1

"""The service as an app uses it: the real application on Milvus Lite, with a fake model."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from catalog.settings import ApiSettings, IndexSettings, MilvusSettings, Settings
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from search_api.app import create_app
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport, write_csv, write_export
from tests.support.data.models import fake_embedder
from tests.support.data.pictures import jpeg, picture
from tests.support.servers.serving import make_app

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten listings of two photos, alternating between the categories Home and Garden, at £1 to £10. Read-only."""
    return write_export(tmp_path_factory.mktemp("api") / "export", 10)


@pytest.fixture(scope="module")
def client(export: Path) -> Iterator[TestClient]:
    """A read-only service."""
    lite = MilvusSettings(uri=str(export.with_name("milvus.db")))
    with TestClient(make_app(export, fake_embedder(), lite, rate_limit="")) as client:
        yield client


def upload(client: TestClient, data: bytes, **fields: object):
    files = {"photo": ("p.jpg", data, "image/jpeg")}
    return client.post("/v1/search", files=files, data={"request": json.dumps(fields)})


def ids(response) -> list[str]:
    assert response.status_code == 200, response.text
    return [hit["listing_id"] for hit in response.json()["hits"]]


def test_an_uploaded_photo_finds_its_listing(client: TestClient, export: Path, embedder: Embedder) -> None:
    """The photo's own listing comes first, with all fields that a result tile shows."""
    response = upload(client, (export / "images" / "l4-0.jpg").read_bytes(), limit=3)
    assert ids(response)[0] == "l4"
    body = response.json()
    assert len(body["hits"]) == 3
    assert body["model_fingerprint"] == embedder.fingerprint
    hit = body["hits"][0]
    assert hit["score"] == pytest.approx(1.0, abs=1e-4)
    assert hit["matched_photos"] == 2
    assert {key: hit[key] for key in ("title", "category", "subcategory", "price", "currency", "location")} == {
        "title": "Thing 4",
        "category": "Home",
        "subcategory": "Things",
        "price": 5.0,
        "currency": "GBP",
        "location": "Leeds, West Yorkshire",
    }
    picture_response = client.get(hit["photo_url"])
    assert picture_response.headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize("body", [{"listing_id": "l4"}, {"photo_id": "l4-1"}])
@pytest.mark.parametrize("as_form", [False, True])
def test_more_like_this_leaves_itself_out(client: TestClient, body: dict[str, str], as_form: bool) -> None:
    """A search by a stored photo or listing finds the other listings, sent as JSON or as a form."""
    if as_form:
        response = client.post("/v1/search", files={"request": (None, json.dumps(body))})
    else:
        response = client.post("/v1/search", json=body)
    assert len(ids(response)) == 9
    assert "l4" not in ids(response)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"categories": ["Home"]}, {0, 2, 4, 6, 8}),
        ({"categories": ["Home", "Garden"]}, set(range(10))),
        ({"categories": ['Home" or category != "']}, set()),
        ({"subcategory": "Things"}, set(range(10))),
        ({"subcategory": "Thing"}, set()),
        ({"currency": "GBP"}, set(range(10))),
        ({"currency": "EUR"}, set()),
        ({"listed_after": "2020-01-01T00:00:00Z"}, set(range(10))),
        ({"listed_after": "2999-01-01"}, set()),
        ({"price_min": 9}, {8, 9}),
        ({"price_max": 2.5}, {0, 1}),
        ({"location": "Leeds"}, set(range(10))),
        ({"location": "York"}, set()),
        ({"exclude_listing_ids": ["l0", "l1"]}, set(range(2, 10))),
    ],
    ids=str,
)
def test_filters(client: TestClient, fields: dict[str, object], expected: set[int]) -> None:
    """Each filter works in a form and in JSON, and the page is full if enough listings pass."""
    uploaded = upload(client, jpeg(picture(3)), filter=fields)
    assert set(ids(uploaded)) == {f"l{number}" for number in expected}
    named = client.post("/v1/search", json={"photo_id": "l3-0", "filter": fields})
    assert set(ids(named)) == {f"l{number}" for number in expected - {3}}


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 0},
        {"limit": 201},
        {"limit": "many"},
        {"filter": {"price_min": -1}},
        {"filter": {"price_min": "nan"}},
        {"filter": {"price_max": "inf"}},
        {"filter": {"price_min": 5, "price_max": 4}},
        {"filter": {"colour": "red"}},
        {"filter": {"categories": ["a\x00b"]}},
        {"filter": {"location": "x" * 1_001}},
        {"filter": {"categories": ["x"] * 201}},
        {"filter": {"exclude_listing_ids": ["x" * 513]}},
        {"filter": {"currency": "pounds"}},
        {"filter": {"listed_after": "yesterday"}},
        {"filter": "price_min > 3"},
        {"colour": "red"},
        {"listing_id": "l1"},
        {"group_by": "seller"},
        {"min_score": 2},
        {"diversity": -0.1},
        {"include": ["secrets"]},
        {"include": ["explain"], "limit": 11},
        {"box": {"x": 0.5, "y": 0, "width": 0.6, "height": 1}},
        {"box": {"x": 0, "y": 0, "width": 0.01, "height": 0.01}},
        {"uploads": [1]},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_a_wrong_field_is_named(client: TestClient, fields: dict[str, object]) -> None:
    """Values out of range, unknown fields and two sources give 422, never 500."""
    response = upload(client, jpeg(picture(3)), **fields)
    assert response.status_code == 422
    assert response.headers["content-type"] == PROBLEM
    assert response.json()["detail"]
    assert "Value error" not in response.text
    assert not response.json()["detail"].startswith(":")


@pytest.mark.parametrize("body", ["{}", "[]", "", "{", '{"listing_id": "l1", "photo_id": "l2-0"}', '{"listing_id": 5}'])
def test_a_wrong_json_body_is_refused(client: TestClient, body: str) -> None:
    """No source, two sources and invalid JSON give 422."""
    response = client.post("/v1/search", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.headers["content-type"]) == (422, PROBLEM)


@pytest.mark.parametrize("data", [b"", b"no photo", jpeg(picture(1))[:900]], ids=["empty", "text", "cut"])
def test_a_broken_upload_is_refused(client: TestClient, data: bytes) -> None:
    """An upload that is not a photo gives 422, and the response does not contain its bytes."""
    response = upload(client, data)
    assert (response.status_code, response.json()["code"]) == (422, "photo_unusable")
    reason = {b"": "empty", b"no photo": "not_an_image"}.get(data, "truncated")
    assert response.json()["errors"] == [{"field": "photo", "message": reason}]


def test_a_body_of_another_kind_is_refused(client: TestClient) -> None:
    """A bare image as body gives 415."""
    response = client.post("/v1/search", content=jpeg(picture(1)), headers={"content-type": "image/jpeg"})
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


def test_too_large_an_upload_is_refused(export: Path, embedder: Embedder, lite: MilvusSettings) -> None:
    """The limit applies before a body of known length is read, and while one of unknown length is read."""
    with TestClient(make_app(export, embedder, lite, max_upload_bytes=1_000)) as client:
        assert upload(client, b"x" * 200_000).status_code == 413
        as_json = {"content-type": "application/json"}
        small = client.post("/v1/search", content=iter([b'{"listing_id"', b': "l4"}']), headers=as_json)
        assert "l4" not in ids(small)
        large = client.post("/v1/search", content=iter([b" " * 60_000] * 2), headers=as_json)
        assert (large.status_code, large.json()["code"]) == (413, "request_entity_too_large")


def test_an_upload_may_be_turned(client: TestClient, export: Path) -> None:
    """A rotated photo with an EXIF orientation finds the same as the upright one."""
    upright = Image.open(export / "images" / "l6-0.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate clockwise to display upright
    sideways = jpeg(upright.rotate(90, expand=True), exif=exif)
    response = upload(client, sideways, limit=1)
    assert ids(response) == ["l6"]
    assert response.json()["hits"][0]["score"] > 0.99


def test_a_listing_has_its_photos(client: TestClient) -> None:
    """A listing is returned with all its photos; an unknown one gives 404."""
    body = client.get("/v1/listings/l2").json()
    assert (body["listing_id"], body["title"]) == ("l2", "Thing 2")
    assert [photo["photo_id"] for photo in body["photos"]] == ["l2-0", "l2-1"]
    missing = client.get("/v1/listings/nobody")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


def test_odd_ids_can_be_asked_for(tmp_path: Path, embedder: Embedder, lite: MilvusSettings) -> None:
    """Ids with slashes, spaces, quotes and emoji work in every path."""
    odd = 'a/b c"?#🛋️'
    header = ["photo_id", "listing_id", "title", "category", "price", "currency", "location", "photo"]
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(1)))
    write_csv(tmp_path / "m.csv", header, [[odd, odd, "T", "C", "", "", "", "a.jpg"]])
    with TestClient(make_app(tmp_path / "m.csv", embedder, lite)) as client:
        listing = client.get(f"/v1/listings/{quote(odd, safe='')}").json()
        assert listing["listing_id"] == odd
        assert client.get(listing["photos"][0]["photo_url"]).status_code == 200


def test_categories_are_counted(client: TestClient) -> None:
    """Every root category has its counts of listings and photos."""
    assert client.get("/v1/categories").json()["categories"] == [
        {"category": "Home", "listings": 5, "photos": 10},
        {"category": "Garden", "listings": 5, "photos": 10},
    ]


def test_a_photo_is_shown_small_and_without_its_metadata(
    make_export: MakeExport, embedder: Embedder, lite: MilvusSettings
) -> None:
    """The image route returns an upright JPEG of the requested size, without EXIF."""
    export = make_export(listings=1)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[1] = "N"  # GPS latitude
    (export / "images" / "l0-0.jpg").write_bytes(jpeg(picture(5, (400, 200)), exif=exif))
    with TestClient(make_app(export, embedder, lite)) as client:
        response = client.get("/v1/photos/l0-0/image", params={"size": 100})
        image = Image.open(io.BytesIO(response.content))
        assert (image.format, image.size) == ("JPEG", (50, 100))
        assert not image.getexif()
        tag = response.headers["etag"]
        again = client.get("/v1/photos/l0-0/image", params={"size": 100}, headers={"If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert client.get("/v1/photos/l0-0/image", params={"size": 5_000}).status_code == 422
        (export / "images" / "l0-1.jpg").unlink()
        assert client.get("/v1/photos/l0-1/image").status_code == 404


def test_ready_when_a_search_works(client: TestClient) -> None:
    """/readyz returns the number of photos, and none are lost."""
    body = client.get("/readyz").json()
    assert (body["status"], body["photos"], body["lost_photos"]) == ("ready", 20, 0)
    assert client.get("/livez").json()["status"] == "alive"
    assert (client.head("/livez").status_code, client.head("/readyz").status_code) == (200, 200)


def test_alive_is_not_ready(embedder: Embedder, lite: MilvusSettings, tmp_path: Path) -> None:
    """Before the first ingest the service is alive but not ready, and the hint says what to do."""
    photos = PhotoCollection.connect(lite, IndexSettings())
    with TestClient(create_app(Settings(api=ApiSettings(keys=tmp_path / "keys.json")), embedder, photos)) as client:
        assert client.get("/livez").status_code == 200
        for response in (client.get("/readyz"), upload(client, jpeg(picture(1))), client.get("/v1/categories")):
            assert (response.status_code, response.json()["code"]) == (503, "collection_missing")
            assert "marketlens ingest" in response.json()["hint"]


def test_another_model_never_answers(export: Path, embedder: Embedder, lite: MilvusSettings) -> None:
    """A service whose model differs from the collection's refuses to search."""
    photos = PhotoCollection.connect(lite, IndexSettings(), consistency="Session")
    ingest_export(export, embedder, photos)
    settings = Settings(api=ApiSettings(keys=export.parent / "keys.json"))
    with TestClient(create_app(settings, fake_embedder("0f" * 32), photos)) as client:
        for response in (client.get("/readyz"), upload(client, jpeg(picture(1)))):
            assert (response.status_code, response.json()["code"]) == (503, "model_mismatch")


def test_every_answer_has_a_request_id(client: TestClient) -> None:
    """The id is in the header of every response, and in the body of every error."""
    assert client.get("/livez").headers["x-request-id"]
    for path in ("/v1/listings/nobody", "/no/such/path"):
        response = client.get(path)
        assert response.headers["content-type"] == PROBLEM
        assert response.json()["request_id"] == response.headers["x-request-id"]
    assert client.put("/v1/search").json()["code"] == "method_not_allowed"


def test_a_bug_is_a_clean_500(export: Path, embedder: Embedder, lite: MilvusSettings) -> None:
    """After an unexpected error, the response reveals only the request id."""
    app = make_app(export, embedder, lite)
    app.add_api_route("/bug", lambda: 1 / 0)
    with TestClient(app, raise_server_exceptions=False) as client:
        response = client.get("/bug")
        assert (response.status_code, response.json()["code"]) == (500, "internal_error")
        assert response.json()["request_id"] == response.headers["x-request-id"] != ""
        assert "division" not in response.text


def test_the_documentation_needs_no_internet(client: TestClient) -> None:
    """The page at /docs loads its scripts from this server, and describes both kinds of search."""
    page = client.get("/docs").text
    assert "https://cdn" not in page
    script = next(part for part in page.split('"') if part.endswith(".js"))
    assert client.get(script).status_code == 200
    body = client.get("/openapi.json").json()["paths"]["/v1/search"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "multipart/form-data"}
    assert body["multipart/form-data"]["schema"]["properties"]["photo"]["items"]["format"] == "binary"

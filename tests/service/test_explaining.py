"""Explanations and categories through the API, with the shipped model and real listings."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from catalog.settings import MilvusSettings
from embedding.embedder import Embedder
from tests.support.data.exports import part_of_listings
from tests.support.paths import LISTINGS, MODEL
from tests.support.servers.serving import make_app


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not LISTINGS.exists():
        pytest.skip(f"needs {LISTINGS}, which is not part of the repository")
    return part_of_listings(tmp_path_factory.mktemp("listings"), 12)


@pytest.fixture(scope="module")
def client(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    lite = MilvusSettings(uri=str(tmp_path_factory.mktemp("store") / "milvus.db"))
    with TestClient(make_app(export, Embedder.load(MODEL), lite)) as client:
        yield client


@pytest.fixture(scope="module")
def photo(export: Path) -> bytes:
    return sorted((export / "images").iterdir())[0].read_bytes()


def post(client: TestClient, path: str, photos: list[bytes], **fields: object) -> dict[str, Any]:
    files = [("photo", ("p.jpg", photo, "image/jpeg")) for photo in photos]
    data = {"request": json.dumps(fields)}
    response = client.post(path, files=files, data=data) if photos else client.post(path, json=fields)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_both_maps_add_up_to_the_score(client: TestClient, photo: bytes) -> None:
    """The 49 cells of both photos add up to the score of the photos alone, without the hit's title, to a thousandth."""
    hits = post(client, "/v1/search", [photo], limit=3)["hits"]
    for hit in hits:
        explanation = post(client, "/v1/explain", [photo], hit_photo_id=hit["photo_id"], overlays=True)
        (alone,) = post(client, "/v1/embed", [], photo_id=hit["photo_id"])["embeddings"]
        (asked,) = post(client, "/v1/embed", [photo])["embeddings"]
        assert explanation["score"] == pytest.approx(np.dot(asked, alone), abs=1e-3)
        for side, photo_id in (("query", None), ("hit", hit["photo_id"])):
            assert explanation[side]["photo_id"] == photo_id
            assert np.sum(explanation[side]["cells"]) == pytest.approx(explanation["score"], abs=1e-3)
            assert np.shape(explanation[side]["cells"]) == (7, 7)
            assert Image.open(io.BytesIO(base64.b64decode(explanation[side]["overlay_png"]))).format == "PNG"
    # By photo_id both photos are in the catalogue, so each explains the other.
    forward = post(client, "/v1/explain", [], photo_id=hits[0]["photo_id"], hit_photo_id=hits[1]["photo_id"])
    backward = post(client, "/v1/explain", [], photo_id=hits[1]["photo_id"], hit_photo_id=hits[0]["photo_id"])
    assert np.allclose(forward["hit"]["cells"], backward["query"]["cells"], atol=1e-3)


def test_a_search_can_explain_its_hits(client: TestClient, photo: bytes) -> None:
    """`include: explain` returns the same maps; a query_id has no pixels, so its map is null."""
    answer = post(client, "/v1/search", [photo], limit=2, include=["explain"])
    for hit in answer["hits"]:
        assert np.sum(hit["explanation"]["hit"]["cells"]) == pytest.approx(hit["explanation"]["score"], abs=1e-3)
        assert hit["explanation"]["query"]["overlay_png"] is None
    by_id = post(client, "/v1/search", [], query_id=answer["query_id"], limit=2, include=["explain"])
    assert [hit["explanation"]["query"] for hit in by_id["hits"]] == [None, None]
    assert by_id["hits"][0]["explanation"]["hit"] == answer["hits"][0]["explanation"]["hit"]


def test_the_part_that_was_asked_by_is_explained(client: TestClient, photo: bytes) -> None:
    """With a box, the query's map covers only the box."""
    box = {"x": 0.25, "y": 0.25, "width": 0.5, "height": 0.5}
    hit = post(client, "/v1/search", [photo], box=box, limit=1)["hits"][0]
    explanation = post(client, "/v1/explain", [photo], box=box, hit_photo_id=hit["photo_id"], overlays=True)
    assert np.sum(explanation["query"]["cells"]) == pytest.approx(explanation["score"], abs=1e-3)
    drawn = Image.open(io.BytesIO(base64.b64decode(explanation["query"]["overlay_png"])))
    whole = Image.open(io.BytesIO(photo))
    assert drawn.width / drawn.height == pytest.approx(whole.width / whole.height, rel=0.05)


def test_categories_are_named_with_probabilities(client: TestClient, photo: bytes) -> None:
    """All categories of the model, most probable first, add up to 1; a search returns the same."""
    categories = post(client, "/v1/classify", [photo])["categories"]
    probabilities = [category["probability"] for category in categories]
    assert len(categories) == 13
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert probabilities == sorted(probabilities, reverse=True)
    assert post(client, "/v1/search", [photo])["predicted_categories"] == categories
    two = post(client, "/v1/classify", [photo, photo])["categories"]
    assert [category["category"] for category in two] == [category["category"] for category in categories]


def test_words_are_explained_on_the_photo_alone(client: TestClient) -> None:
    """The map of a hit shows where its photo agrees with the words; words have no photo of their own."""
    hit = post(client, "/v1/search", [], text="mens clothes", limit=1)["hits"][0]
    explanation = post(client, "/v1/explain", [], text="mens clothes", hit_photo_id=hit["photo_id"])
    assert explanation["query"] is None
    assert np.sum(explanation["hit"]["cells"]) == pytest.approx(explanation["score"], abs=1e-3)


def test_a_title_decides_a_category(client: TestClient, photo: bytes) -> None:
    """With the title "iPhone 12, unlocked" any photo is a telephone; with unknown words the photo decides alone."""
    alone = post(client, "/v1/classify", [photo])["categories"]
    titled = post(client, "/v1/classify", [photo], text="iPhone 12, unlocked")["categories"]
    assert titled[0]["category"] == "Phones, Mobile Phones & Telecoms" != alone[0]["category"]
    assert post(client, "/v1/classify", [photo], text="机机机")["categories"] == alone
    words = post(client, "/v1/classify", [], text="iPhone 12, unlocked")["categories"]
    assert words[0]["category"] == "Phones, Mobile Phones & Telecoms"


def test_explaining_a_missing_hit(client: TestClient, photo: bytes, export: Path) -> None:
    """An unknown hit, and one whose file is missing, give 404."""
    last = sorted((export / "images").iterdir())[-1]
    for path in ("nobody", last.stem):
        if path == last.stem:
            last.rename(last.with_suffix(".away"))
        files = {"photo": ("p.jpg", photo, "image/jpeg")}
        response = client.post("/v1/explain", files=files, data={"request": json.dumps({"hit_photo_id": path})})
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    last.with_suffix(".away").rename(last)

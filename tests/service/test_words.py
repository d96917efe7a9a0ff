"""Search by words, and photos stored with their titles: the service with a small catalogue of known words."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from catalog.settings import MilvusSettings
from embedding.card import Calibration
from embedding.embedder import Embedder
from tests.service.test_search_sources import ask, ids, refused
from tests.support.data.exports import write_export
from tests.support.data.models import fake_embedder, worded_embedder
from tests.support.data.pictures import jpeg, picture
from tests.support.servers.serving import make_app

TITLES = ["red chair", "green chair", "blue table", "oak table", "old lamp", "xyzzy", "🛋️", "old oak chair"]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One listing per title, of two photos each. Read-only."""
    folder = write_export(tmp_path_factory.mktemp("words") / "export", len(TITLES))
    table = folder / "Products.csv"
    text = table.read_text()
    for number, title in enumerate(TITLES):
        text = text.replace(f"Thing {number} |", f"{title} |")
    table.write_text(text)
    return folder


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    embedder = worded_embedder()
    embedder.card.words_calibration = Calibration(slope=20, intercept=-6, pairs=10, same_item_pairs=5)
    return embedder


@pytest.fixture(scope="module")
def client(export: Path, embedder: Embedder) -> Iterator[TestClient]:
    """A read-only service."""
    lite = MilvusSettings(uri=str(export.with_name("milvus.db")))
    with TestClient(make_app(export, embedder, lite, rate_limit="")) as client:
        yield client


def photo(number: int) -> bytes:
    return jpeg(picture(number).resize((64, 48)))


def test_words_find_the_titles_that_say_them(client: TestClient) -> None:
    """A stored vector contains its title, so the listing with these words is first; case and accents do not matter."""
    for number, title in enumerate(TITLES[:5]):
        answer = ask(client, text=title.upper(), limit=3)
        assert ids(answer)[0] == f"l{number}"
        assert answer["asked_by"] == "words"
        assert answer["no_good_match"] is False
        assert answer["hits"][0]["probability"] > 0.5


@pytest.mark.parametrize("text", ["xyzzy", "🛋️", "!!!", "机" * 5, "plugh " * 20_000])
def test_words_that_the_model_does_not_know(client: TestClient, text: str) -> None:
    """There is no good match and no hit, whatever was sent and however long it is."""
    answer = ask(client, text=text[:100_000], facets=True)
    assert (answer["hits"], answer["no_good_match"], answer["exhausted"], answer["facets"]) == ([], True, True, {})
    # The query_id and pages of such a search work as well.
    assert ask(client, query_id=answer["query_id"])["hits"] == []


def test_mostly_unknown_words_are_no_good_match(client: TestClient) -> None:
    """One known word among many unknown ones finds something, but the answer says that it may not be meant."""
    assert ask(client, text="oak " + "plugh xyzzy frobnicate " * 3)["no_good_match"] is True


def test_an_empty_or_endless_text_is_refused(client: TestClient) -> None:
    """The limits are those of the schema."""
    assert client.post("/v1/search", json={"text": ""}).status_code == 422
    assert client.post("/v1/search", json={"text": "a" * 100_001}).status_code == 422


def test_a_photo_finds_itself_whatever_its_title(client: TestClient) -> None:
    """The query is a photo alone, the stored vector has its title: the photo is still first."""
    for number in range(len(TITLES)):
        answer = ask(client, [photo(number)], limit=1)
        assert (ids(answer), answer["asked_by"]) == ([f"l{number}"], "photo")


def test_words_shift_a_search_by_photo(client: TestClient) -> None:
    """Together they are one vector: the titles with the words come nearer, and negatives push them away."""
    alone = ask(client, [photo(0)], limit=8)
    together = ask(client, [photo(0)], text="blue table", limit=8)
    assert together["asked_by"] == "examples"
    assert ids(together).index("l2") < ids(alone).index("l2") or ids(alone).index("l2") <= 1
    same = ask(client, [photo(0)], positives=[{"upload": 0}, {"text": "blue table"}], limit=8)
    assert ids(same) == ids(together)
    without = ask(client, [photo(0)], negatives=[{"text": "blue table"}], limit=8)
    assert ids(without).index("l2") >= ids(alone).index("l2")
    # The vector is that of the photo and the text, and survives as a query_id.
    again = ask(client, query_id=together["query_id"], limit=8)
    assert (ids(again), again["asked_by"]) == (ids(together), "examples")


def test_unknown_words_do_not_spoil_a_photo(client: TestClient) -> None:
    """With words that the model does not know, the photo is searched by alone."""
    assert ids(ask(client, [photo(3)], text="xyzzy", limit=5)) == ids(ask(client, [photo(3)], limit=5))


def test_words_in_a_batch(client: TestClient) -> None:
    """Each search of a batch has its own words; the answers are those of single searches."""
    searches: list[dict[str, Any]] = [{"text": "oak table", "limit": 2}, {"text": "xyzzy"}, {"photo_id": "l4-0"}]
    answers = client.post("/v1/search/batch", json={"searches": searches}).json()["answers"]
    assert [ids(answer["answer"]) for answer in answers] == [ids(ask(client, **search)) for search in searches]


def test_words_on_a_page_with_filters(client: TestClient) -> None:
    """Filters, pages and min_probability work as for photos."""
    first = ask(client, text="chair", limit=2, filter={"categories": ["Home"]})
    assert {hit["category"] for hit in first["hits"]} == {"Home"}
    rest = ask(client, text="chair", limit=20, filter={"categories": ["Home"]}, cursor=first["cursor"])
    assert len({*ids(first), *ids(rest)}) == 4
    for hit in ask(client, text="red chair", min_probability=0.5)["hits"]:
        assert hit["probability"] >= 0.5 - 1e-6
    assert "combines examples" in refused(
        client, 422, positives=[{"text": "red"}, {"text": "old"}], min_probability=0.5
    )


def test_a_stored_photo_is_searched_by_its_look(client: TestClient, embedder: Embedder) -> None:
    """The embedding of a stored photo is that of its file, without its title."""
    (stored,) = ask(client, path="/v1/embed", photo_id="l0-0")["embeddings"]
    (sent,) = ask(client, [photo(0)], path="/v1/embed")["embeddings"]
    assert np.dot(stored, sent) > 0.999
    assert embedder.words is not None
    words = ask(client, path="/v1/embed", text="red chair")["embeddings"]
    assert np.allclose(words, embedder.words.embed(["red chair"]), atol=1e-6)


def test_a_changed_title_changes_the_stored_vector(export: Path, tmp_path: Path) -> None:
    """PUT with another title: the words find the listing by its new title, and its photos are as before."""
    embedder = worded_embedder()
    lite = MilvusSettings(uri=str(tmp_path / "milvus.db"))
    app = make_app(export, embedder, lite, photos=tmp_path / "photos")
    with TestClient(app) as client:
        before = ask(client, path="/v1/embed", photo_id="l0-0")["embeddings"]
        body = {"title": "old lamp", "category": "Home", "photos": [{"photo_id": "l0-0"}, {"photo_id": "l0-1"}]}
        assert client.put("/v1/listings/l0", json=body).status_code == 200
        assert set(ids(ask(client, text="old lamp", limit=2))) == {"l0", "l4"}
        assert np.allclose(ask(client, path="/v1/embed", photo_id="l0-0")["embeddings"], before, atol=1e-5)


def test_a_model_without_words(export: Path, tmp_path: Path) -> None:
    """A search by words is refused with the command that teaches the model; a batch goes on without it."""
    lite = MilvusSettings(uri=str(tmp_path / "milvus.db"))
    with TestClient(make_app(export, fake_embedder(), lite)) as client:
        response = client.post("/v1/search", json={"text": "red chair"})
        assert response.status_code == 422
        assert "cannot search by words" in response.json()["detail"]
        assert "marketlens words" in response.json()["hint"]
        searches = [{"text": "red chair"}, {"photo_id": "l4-0", "limit": 1}]
        first, second = client.post("/v1/search/batch", json={"searches": searches}).json()["answers"]
        assert first["problem"]["status"] == 422
        assert second["answer"]["hits"]


def test_a_title_helps_to_classify(client: TestClient) -> None:
    """A model without categories says so for words, too."""
    response = client.post("/v1/classify", json={"text": "red chair"})
    assert response.status_code == 422
    assert "knows no categories" in response.json()["detail"]

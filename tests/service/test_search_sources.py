"""Sources and options of a search: the service with a small catalogue."""

import base64
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from catalog.settings import MilvusSettings
from embedding.card import Calibration
from embedding.embedder import Embedder
from tests.support.data.exports import MakeExport, write_export
from tests.support.data.models import FakeEngine, fake_embedder
from tests.support.data.pictures import jpeg, picture
from tests.support.servers.serving import make_app

CALIBRATION = Calibration(slope=20, intercept=-18, pairs=10, same_item_pairs=5)  # probability 0.5 at a cosine of 0.9


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    embedder = fake_embedder()
    embedder.card.calibration = CALIBRATION
    return embedder


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten listings of two photos, alternating between the categories Home and Garden. Read-only."""
    return write_export(tmp_path_factory.mktemp("questions") / "export", 10)


@pytest.fixture(scope="module")
def client(export: Path, embedder: Embedder) -> Iterator[TestClient]:
    """A read-only service."""
    lite = MilvusSettings(uri=str(export.with_name("milvus.db")))
    with TestClient(make_app(export, embedder, lite, rate_limit="")) as client:
        yield client


@pytest.fixture
def own_client(
    make_export: MakeExport, embedder: Embedder, lite: MilvusSettings, tmp_path: Path
) -> Iterator[TestClient]:
    """The same service, for tests that change it."""
    with TestClient(make_app(make_export(listings=10), embedder, lite, photos=tmp_path / "photos")) as client:
        yield client


def ask(client: TestClient, photos: Sequence[bytes] = (), path: str = "/v1/search", **fields: object) -> dict[str, Any]:
    """Send a request, as a form if there are photos, and return the response body."""
    if photos:
        files = [("photo", ("p.jpg", photo, "image/jpeg")) for photo in photos]
        response = client.post(path, files=files, data={"request": json.dumps(fields)})
    else:
        response = client.post(path, json=fields)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def refused(client: TestClient, status: int = 422, /, **fields: object) -> str:
    """Send a search that is refused with this status, and return the reason."""
    response = client.post("/v1/search", json=fields)
    assert response.status_code == status, response.text
    return str(response.json()["detail"])


def ids(answer: dict[str, Any]) -> list[str]:
    return [hit["listing_id"] for hit in answer["hits"]]


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def side_by_side(left: int, right: int) -> bytes:
    image = Image.new("RGB", (256, 96))
    image.paste(picture(left, (128, 96)), (0, 0))
    image.paste(picture(right, (128, 96)), (128, 0))
    return jpeg(image)


def test_all_sources_of_one_photo_find_the_same(client: TestClient, engine: FakeEngine) -> None:
    """Upload, base64, embedding and query_id of one photo are the same query; only photos are embedded."""
    photo = jpeg(picture(4))
    uploaded = ask(client, [photo])
    assert ids(uploaded)[0] == "l4"
    embedded = ask(client, [photo], "/v1/embed")
    before = engine.photos
    for source in ({"query_id": uploaded["query_id"]}, {"query_id": embedded["query_id"]}):
        assert ask(client, **source)["hits"] == uploaded["hits"]
    by_vector = ask(client, embedding=embedded["embeddings"][0])
    longer = ask(client, embedding=[2 * number for number in embedded["embeddings"][0]])
    assert ids(by_vector) == ids(longer) == ids(uploaded)
    assert engine.photos == before
    encoded = ask(client, photos_base64=[text(photo)])
    assert (encoded["hits"], encoded["query_id"]) == (uploaded["hits"], uploaded["query_id"])
    assert len(uploaded["query_id"]) < 11_200  # 2,048 dimensions: 5.5 characters each


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "none"),
        ({"photo_id": "l1-0", "listing_id": "l1"}, "photo_id and listing_id"),
        ({"embedding": [1.0] * 2048, "query_id": "x"}, "embedding and query_id"),
        ({"positives": [{"photo_id": "l1-0"}], "listing_id": "l1"}, "listing_id and positives"),
        ({"negatives": [{"photo_id": "l1-0"}]}, "none"),
        ({"uploads": [0]}, "no uploaded photo 0"),
        ({"positives": [{"upload": 3}]}, "no uploaded photo 3"),
        ({"positives": [{"photo_id": "l1-0", "listing_id": "l1"}]}, "photo_id, listing_id"),
        ({"positives": [{"weight": 2}]}, "given: none"),
        ({"positives": [{"photo_id": "l1-0", "weight": 0}]}, "weight"),
        ({"embedding": [1.0, 2.0]}, "has 2 numbers; those of this model have 2048"),
        ({"embedding": [0.0] * 2048}, "no usable direction"),
        ({"embedding": [1e300] * 2048}, "no usable direction"),
        ({"query_id": "nonsense"}, "query_id is damaged"),
        ({"query_id": "äöü"}, "query_id is damaged"),
        ({"photos_base64": ["!!"]}, "not base64"),
        ({"photos_base64": [text(b"no photo")]}, "not a photo"),
        ({"listing_id": "l1", "box": {"x": 0, "y": 0, "width": 0.5, "height": 0.5}}, "a part of one photo"),
        ({"photo_id": "l1-0", "negatives": [{"photo_id": "l1-0", "weight": 1}]}, "cancel each other out"),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, dict) else "",
)
def test_exactly_one_source_that_makes_sense(client: TestClient, fields: dict[str, object], words: str) -> None:
    """No source, two sources, or an invalid one: 422, and the error names what was sent."""
    assert words in refused(client, **fields)


def test_an_upload_and_another_source_are_two(client: TestClient) -> None:
    """A form with a photo and an id is refused, and so is a photo that no example uses."""
    photo = ("p.jpg", jpeg(picture(4)), "image/jpeg")
    for fields, words in (
        ({"listing_id": "l1"}, "listing_id and uploads"),
        ({"positives": [{"photo_id": "l1-0"}], "uploads": [0]}, "positives and uploads"),
        ({"positives": [{"photo_id": "l1-0"}, {"upload": 0}]}, "uploaded photo 1 is not used"),
    ):
        response = client.post("/v1/search", files=[("photo", photo)] * 2, data={"request": json.dumps(fields)})
        assert response.status_code == 422
        assert words in response.json()["detail"]


def test_several_photos_find_what_is_near_to_any(client: TestClient) -> None:
    """A search by two photos of different things finds both listings first."""
    assert set(ids(ask(client, [jpeg(picture(2)), jpeg(picture(7))], limit=2))) == {"l2", "l7"}


def test_a_box_is_a_search_by_that_part(own_client: TestClient) -> None:
    """A box over one half finds what that half shows, for uploads and stored photos; the query_id keeps the box."""
    both = side_by_side(3, 8)
    left, right = ({"x": x, "y": 0, "width": 0.5, "height": 1} for x in (0, 0.5))
    assert ids(ask(own_client, [both], box=left, limit=1)) == ["l3"]
    assert ids(ask(own_client, [both], box=right, limit=1)) == ["l8"]
    put = {"title": "Two in one", "photos": [{"photo_id": "both", "photo_base64": text(both)}]}
    assert own_client.put("/v1/listings/two", json=put).status_code == 201
    stored = ask(own_client, photo_id="both", box=right, limit=1)
    assert ids(stored) == ["l8"]
    assert ids(ask(own_client, query_id=stored["query_id"], limit=1)) == ["l8"]
    example = {"photo_id": "both", "box": left}
    assert ids(ask(own_client, positives=[example, {"photo_id": "l3-0"}], limit=1, filter={"price_min": 0})) != ["l8"]
    for narrow in (0.01, 5e-324):  # the second is the smallest number above zero
        assert "pixels of the photo" in refused(own_client, photo_id="both", box=left | {"width": narrow})


def test_examples_pull_and_push(client: TestClient) -> None:
    """A heavier example attracts more, a negative repels; listings of examples are not hits."""
    three, eight = [{"photo_id": "l3-0"}], [{"photo_id": "l8-0"}]

    def scores(**fields: object) -> dict[str, float]:
        answer = ask(client, [jpeg(picture(3)), jpeg(picture(8))], exact=True, **fields)
        return {hit["listing_id"]: hit["score"] for hit in answer["hits"]}

    even = scores(positives=[{"upload": 0}, {"upload": 1}])
    heavy = scores(positives=[{"upload": 0, "weight": 3}, {"upload": 1}])
    against = scores(positives=[{"upload": 0}], negatives=[{"upload": 1, "weight": 0.5}])
    assert even["l3"] == pytest.approx(even["l8"], abs=0.05)
    assert heavy["l3"] > even["l3"] > heavy["l8"]
    assert against["l8"] < 0.2 < against["l3"]
    found = ids(ask(client, positives=three, negatives=eight))
    assert not {"l3", "l8"} & set(found)
    assert ids(ask(client, positives=three)) == ids(ask(client, photo_id="l3-0"))
    # A listing counts once, with the mean of its photos.
    by_listing = ask(client, positives=[{"listing_id": "l3"}, {"listing_id": "l8"}])
    assert by_listing["hits"][0]["probability"] is None
    assert by_listing["no_good_match"] is None
    assert "combines examples" in refused(client, positives=three + eight, min_probability=0.5)


def test_a_query_id_outlives_the_service_but_not_the_model(
    client: TestClient, export: Path, embedder: Embedder, tmp_path: Path
) -> None:
    """A query_id works in another process and store; another model refuses it with 409; a changed one is damaged."""
    answer = ask(client, listing_id="l4")
    token = answer["query_id"]
    with TestClient(make_app(export, embedder, MilvusSettings(uri=str(tmp_path / "other.db")))) as other:
        assert ids(ask(other, query_id=token)) == ids(answer)
        assert "l4" not in ids(ask(other, query_id=token))
    cut, changed = token[:-9], token[:100] + ("A" if token[100] != "A" else "B") + token[101:]
    for broken in (cut, changed, token + "AAAA", ""):
        refused(client, query_id=broken)
    lite = MilvusSettings(uri=str(tmp_path / "third.db"))
    with TestClient(make_app(export, fake_embedder("0f" * 32), lite)) as stranger:
        response = stranger.post("/v1/search", json={"query_id": token})
        assert (response.status_code, response.json()["code"]) == (409, "query_outdated")
        assert response.json()["hint"]


@pytest.mark.parametrize("group_by", ["listing", "photo"])
@pytest.mark.parametrize("exact", [False, True])
def test_pages_together_are_the_first_hits(client: TestClient, group_by: str, exact: bool) -> None:
    """Pages 1 and 2 are the first 2n hits if nothing changes; the last page says that it is the last."""
    options = {"photo_id": "l4-0", "group_by": group_by, "exact": exact}
    whole = ask(client, **options, limit=8)["hits"]
    first = ask(client, **options, limit=4)
    second = ask(client, **options, limit=4, cursor=first["cursor"])
    assert [hit["photo_id"] for hit in first["hits"] + second["hits"]] == [hit["photo_id"] for hit in whole]
    last = ask(client, **options, limit=50, cursor=second["cursor"])
    assert (last["cursor"], last["exhausted"]) == (None, True)
    assert len(last["hits"]) == (9 if group_by == "listing" else 18) - 8


def test_a_photo_sent_again_goes_on_from_its_cursor(client: TestClient) -> None:
    """The cursor works with the photo and with its query_id."""
    first = ask(client, [jpeg(picture(4))], limit=3)
    again = ask(client, [jpeg(picture(4))], limit=3, cursor=first["cursor"])
    by_id = ask(client, query_id=first["query_id"], limit=3, cursor=first["cursor"])
    assert again["hits"] == by_id["hits"]
    assert not set(ids(again)) & set(ids(first))


def test_pages_neither_repeat_nor_skip_while_data_changes(own_client: TestClient) -> None:
    """Listings added or removed between two pages hide no other listing, and none is shown twice."""
    first = ask(own_client, photo_id="l4-0", limit=4)
    shown = ids(first)
    assert own_client.delete(f"/v1/listings/{shown[1]}").status_code == 200
    put = {"title": "Nearest of all", "photos": [{"photo_id": "new", "photo_base64": text(jpeg(picture(4)))}]}
    assert own_client.put("/v1/listings/new", json=put).status_code == 201
    second = ask(own_client, photo_id="l4-0", limit=50, cursor=first["cursor"])
    everything = {f"l{number}" for number in range(10)} - {"l4"}
    assert ids(second)[0] == "new"
    assert set(ids(second)) == everything - set(shown) | {"new"}


@pytest.mark.parametrize(
    "change", [{"photo_id": "l5-0"}, {"filter": {"price_max": 5}}, {"group_by": "photo"}, {"min_score": 0.1}]
)
def test_a_cursor_belongs_to_its_search(client: TestClient, change: dict[str, object]) -> None:
    """With another source, filter or grouping, a cursor would skip hits that were never shown: 422."""
    cursor = ask(client, photo_id="l4-0", limit=2)["cursor"]
    assert "another search" in refused(client, **{"photo_id": "l4-0", "cursor": cursor} | change)
    assert "damaged" in refused(client, photo_id="l4-0", cursor=cursor[:-3])


def test_scores_and_probabilities_have_a_floor(client: TestClient) -> None:
    """min_score and min_probability exclude lower hits; the stricter one applies, and pages end there."""
    photo = jpeg(picture(4))
    hits = ask(client, [photo])["hits"]
    scores = [hit["score"] for hit in hits]
    expected = CALIBRATION.probability(np.array(scores, np.float32))
    assert [hit["probability"] for hit in hits] == pytest.approx(expected.tolist(), abs=1e-6)
    floor = (scores[3] + scores[4]) / 2
    answer = ask(client, [photo], min_score=floor)
    assert (ids(answer), answer["exhausted"], answer["cursor"]) == ([hit["listing_id"] for hit in hits[:4]], True, None)
    probable = ask(client, [photo], min_probability=0.5)
    assert [hit["probability"] >= 0.5 for hit in probable["hits"]] == [True] * len(probable["hits"]) != []
    assert ids(ask(client, [photo], min_probability=0.5, min_score=floor)) == ids(probable)
    assert ask(client, [photo], min_probability=1)["hits"] == []
    assert len(ask(client, [photo], min_probability=0)["hits"]) == 10


def test_no_good_match_is_said(client: TestClient, export: Path, tmp_path: Path) -> None:
    """no_good_match is true if no hit is probably the same item, and null if the model is not calibrated."""
    assert ask(client, [jpeg(picture(4))])["no_good_match"] is False
    assert ask(client, [jpeg(picture(4))], filter={"exclude_listing_ids": ["l4"]})["no_good_match"] is True
    assert ask(client, [jpeg(picture(4))], filter={"location": "Atlantis"})["no_good_match"] is True
    with TestClient(make_app(export, fake_embedder(), MilvusSettings(uri=str(tmp_path / "plain.db")))) as plain:
        answer = ask(plain, [jpeg(picture(4))])
        assert (answer["no_good_match"], answer["hits"][0]["probability"]) == (None, None)
        assert answer["predicted_categories"] is None
        assert "no calibration" in refused(plain, photo_id="l4-0", min_probability=0.5)


def test_hits_are_listings_or_photos(client: TestClient) -> None:
    """Grouped by listing, a hit has its other photos with scores; grouped by photo, each photo is a hit."""
    hit = ask(client, [jpeg(picture(4))], limit=1)["hits"][0]
    (other,) = hit["other_photos"]
    assert {hit["photo_id"], other["photo_id"]} == {"l4-0", "l4-1"}
    assert (hit["matched_photos"], hit["score"] >= other["score"]) == (2, True)
    photos = ask(client, [jpeg(picture(4))], group_by="photo", limit=50)["hits"]
    assert len(photos) == 20
    assert {photo["matched_photos"] for photo in photos} == {1}
    assert [photo["photo_id"] for photo in photos[:2]] == [hit["photo_id"], other["photo_id"]]


def test_more_of_a_hit_only_when_asked_for(client: TestClient) -> None:
    """Embedding and payload are returned only if included; the embedding is that of the best photo."""
    plain = ask(client, photo_id="l4-0", limit=2)["hits"][0]
    assert (plain["embedding"], plain["payload"], plain["explanation"]) == (None, None, None)
    full = ask(client, photo_id="l4-0", limit=2, include=["embedding", "payload"])["hits"][0]
    query = ask(client, path="/v1/embed", photo_id="l4-0")["embeddings"][0]
    assert np.dot(full["embedding"], query) == pytest.approx(full["score"], abs=1e-5)
    assert len(full["payload"]["sha256"]) == 64
    assert full["payload"]["ingested_at"] > "2020"
    assert full["listed_at"] > "2020"


def test_diversity_shows_different_things(make_export: MakeExport, embedder: Embedder, lite: MilvusSettings) -> None:
    """Of five listings with the same picture, a diverse page shows one; diversity 0 changes nothing."""
    export = make_export(listings=12, photos_each=1)
    for number in range(5):
        (export / "images" / f"l{number}-0.jpg").write_bytes(jpeg(picture(0)))
    with TestClient(make_app(export, embedder, lite)) as client:
        photo = jpeg(picture(0))
        nearest = ask(client, [photo], limit=5)
        diverse = ask(client, [photo], limit=5, diversity=0.7)
        same = {f"l{number}" for number in range(5)}
        assert set(ids(nearest)) == same
        assert ids(diverse)[0] in same
        assert len(set(ids(diverse)) & same) == 1
        assert ids(ask(client, [photo], limit=5, diversity=0)) == ids(nearest)
        rest = ask(client, [photo], limit=50, diversity=0.7, cursor=diverse["cursor"])
        assert sorted(ids(diverse) + ids(rest)) == sorted(f"l{number}" for number in range(12))


def test_facets_say_what_another_category_would_give(client: TestClient) -> None:
    """Counts per category respect the other filters and the minimum score, but not the chosen category."""
    answer = ask(client, listing_id="l4", facets=True, filter={"categories": ["Home"], "price_max": 6})
    assert set(ids(answer)) == {"l0", "l2"}
    assert answer["facets"] == {"Garden": 3, "Home": 2}
    assert ask(client, listing_id="l4")["facets"] is None


def test_a_batch_answers_each_as_alone(client: TestClient) -> None:
    """A batch returns the answers of single searches in order, and a problem in place of an invalid one."""
    photo = jpeg(picture(4))
    searches: list[dict[str, object]] = [
        {"uploads": [0], "limit": 3},
        {"listing_id": "nobody"},
        {"listing_id": "l4", "limit": 3},
        {"limit": 3},
        {"uploads": [1], "negatives": [{"upload": 1, "weight": 1}]},
        {"photo_id": "l5-0", "filter": {"categories": ["a\x00b"]}},
        {"photos_base64": [text(b"no photo")]},
        {"photo_id": "l5-0", "limit": 9999},
        {"photo_id": "l5-0", "include": ["explain"], "limit": 3},
        {"uploads": [1], "limit": 3, "exact": True},
        {"query_id": ask(client, [photo], limit=1)["query_id"], "limit": 3},
    ]
    answers = ask(client, [photo, jpeg(picture(7))], "/v1/search/batch", searches=searches)["answers"]
    status = [answer["problem"]["status"] if answer["problem"] else 200 for answer in answers]
    assert status == [200, 404, 200, 422, 422, 422, 422, 422, 422, 200, 200]
    alone = [
        ask(client, [photo], limit=3),
        ask(client, listing_id="l4", limit=3),
        ask(client, [jpeg(picture(7))], limit=3),
        ask(client, [photo], limit=3),
    ]
    together = [answer["answer"] for answer in answers if answer["answer"]]
    assert [answer["hits"] for answer in together] == [answer["hits"] for answer in alone]
    page = ask(client, path="/v1/search/batch", searches=[{"listing_id": "l4", "cursor": together[1]["cursor"]}] * 64)
    assert {len(answer["answer"]["hits"]) for answer in page["answers"]} == {6}
    assert client.post("/v1/search/batch", json={"searches": searches[2:3] * 65}).status_code == 422


def test_similar_listings_have_pages(client: TestClient) -> None:
    """The similar route returns the same hits as a search by listing_id, page by page."""
    first = client.get("/v1/listings/l4/similar", params={"limit": 5}).json()
    second = client.get("/v1/listings/l4/similar", params={"limit": 5, "cursor": first["cursor"]}).json()
    assert ids(first) + ids(second) == ids(ask(client, listing_id="l4"))
    assert client.get("/v1/listings/nobody/similar").status_code == 404
    too_long = client.get(f"/v1/listings/{'x' * 513}/similar")
    assert (too_long.status_code, too_long.json()["code"]) == (422, "invalid_request")


def test_an_answer_says_how_fresh_it_is_and_where_its_time_went(client: TestClient) -> None:
    """A response has the time of the last change, and stage times that add up to at most the total."""
    answer = ask(client, [jpeg(picture(4))])
    assert answer["changed_at"] > "2020"
    ms = answer["timings_ms"]
    assert min(ms.values()) > 0
    assert ms["total"] >= ms["read"] + ms["decode"] + ms["embed"] + ms["search"]
    assert ms["total"] < 60_000


def test_the_student_systems_paths_answer(client: TestClient) -> None:
    """The student system's routes for health, image features and similar images still work."""
    assert client.get("/healthcheck").json() == {"message": "API is up and running!"}
    image = {"image": ("p.jpg", jpeg(picture(4)), "image/jpeg")}
    features = client.post("/predict/feature_embedding/image", files=image).json()["features"]
    assert features == ask(client, [jpeg(picture(4))], "/v1/embed")["embeddings"][0]
    similar = client.post("/predict/similar_images", files=image).json()["similar"]
    assert (similar[0]["listing_id"], len(similar)) == ("l4", 10)
    assert similar[0]["score"] == pytest.approx(1, abs=1e-3)
    broken = client.post("/predict/similar_images", files={"image": ("p.jpg", b"no photo", "image/jpeg")})
    assert broken.status_code == 422


def test_a_form_may_send_its_json_as_a_file(client: TestClient) -> None:
    """`-F 'request=@query.json;type=application/json'` works too; the error names an unknown part."""
    photo = ("p.jpg", jpeg(picture(4)), "image/jpeg")
    request = ("query.json", io.BytesIO(b'{"limit": 1}'), "application/json")
    answered = client.post("/v1/search", files={"photo": photo, "request": request})
    assert ids(answered.json()) == ["l4"]
    stranger = client.post("/v1/search", files={"photo": photo}, data={"limit": "1"})
    assert stranger.status_code == 422
    assert "limit: is not a part of this form" in stranger.json()["detail"]

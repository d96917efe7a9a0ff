"""Insights routes: summary, map, and open questions for staff, without decided or outdated ones."""

import gzip
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import search_api.auth.signed_urls
from catalog.settings import MilvusSettings
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from search_api.auth.api_keys import create_key
from search_api.review.map_response import map_response
from tests.support.data.exports import MakeExport, write_export
from tests.support.data.insight_files import duplicate, suggestion, write_insights
from tests.support.data.models import fake_embedder
from tests.support.servers.serving import make_app

# l0, l2, … are in Home; l1, l3, … in Garden.
SUGGESTIONS = [
    suggestion("l1", "Garden", "Home", ["l2-0", "l4-1"]),
    suggestion("l3", "Garden", "Home", ["l2-0"]),
    suggestion("l0", "Home", "Garden", head_probability=None),
    suggestion("l5", "Garden", "Home"),
    suggestion("l7", "Garden", "Home"),
]
DUPLICATES = [
    duplicate("l0", "l2", "l4", kind="same_bytes"),
    duplicate("l5", "l7"),
    duplicate("l8", "l9", kind="same_item", probability=0.75),
]


@contextmanager
def service_with_insights(folder: Path) -> Iterator[TestClient]:
    """Start a service with ten listings of two photos and with insights."""
    export, lite = write_export(folder / "export", 10), MilvusSettings(uri=str(folder / "milvus.db"))
    app = make_app(export, fake_embedder(), lite, photos=folder / "photos")
    write_insights(folder / "insights", stored(app), SUGGESTIONS, DUPLICATES)
    with TestClient(app) as client:
        yield client


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with service_with_insights(tmp_path) as client:
        yield client


@pytest.fixture(scope="module")
def read_only_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A read-only service."""
    with service_with_insights(tmp_path_factory.mktemp("insights")) as client:
        yield client


def stored(app: Any) -> PhotoCollection:
    photos: PhotoCollection = app.state.catalogue.photos
    return photos


def suggested(client: TestClient, **params: object) -> tuple[list[str], int, int | None]:
    body = client.get("/v1/insights/suggestions", params=params).json()
    return [suggestion["listing_id"] for suggestion in body["suggestions"]], body["remaining"], body["next_after"]


def grouped(client: TestClient, **params: object) -> tuple[list[list[str]], int, int | None]:
    body = client.get("/v1/insights/duplicates", params=params).json()
    groups = [[listing["listing_id"] for listing in group["listings"]] for group in body["groups"]]
    return groups, body["remaining"], body["next_after"]


def decide(client: TestClient, decision: str, **question: object) -> int:
    kind = "duplicate" if "listing_ids" in question else "wrong_category"
    answer = client.post("/v1/verdicts", json={"question": {"kind": kind, **question}, "decision": decision})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["verdict_id"])


def wrong_category(listing_id: str, category: str = "Garden", other: str = "Home") -> dict[str, object]:
    return {"listing_id": listing_id, "category": category, "suggested_category": other}


def test_the_collection_as_a_whole(client: TestClient) -> None:
    """The summary has the results of the run, and whether the collection has changed since."""
    body = client.get("/v1/insights").json()
    assert (body["photos"], body["suggestions"], body["duplicates"], body["is_stale"]) == (20, 5, 3, False)
    assert [category["category"] for category in body["categories"]] == ["Garden", "Home"]
    assert len(body["overlap"]) == len(body["distances"]) == 2
    stored(client.app).notes.set("changed_at", str(int(time.time()) + 1))
    assert client.get("/v1/insights").json()["is_stale"] is True


def test_no_insights_yet(make_export: MakeExport, embedder: Embedder, lite: MilvusSettings) -> None:
    """Without insights, every route gives 404 with the command to run as the hint."""
    with TestClient(make_app(make_export(), embedder, lite)) as client:
        paths = [path for path in client.get("/openapi.json").json()["paths"] if path.startswith("/v1/insights")]
        assert len(paths) == 5
        for path in (*paths, "/v1/map"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "insights_missing")
            assert answer.json()["hint"] == "marketlens insights"


def test_another_run_is_followed(client: TestClient, tmp_path: Path) -> None:
    """The results of a newer run are used at once, including the map."""
    before = client.get("/v1/map").json()
    assert suggested(client)[1] == 5
    write_insights(tmp_path / "insights", stored(client.app), SUGGESTIONS[:1])
    assert suggested(client) == (["l1"], 1, None)
    assert client.get("/v1/map").json()["made_at"] > before["made_at"]


def test_the_map(read_only_client: TestClient) -> None:
    """The map has the mapped photos, column by column, or an even sample of them if limited."""
    body = read_only_client.get("/v1/map").json()
    columns = body["columns"]
    assert {len(column) for column in columns.values()} == {10}
    assert set(columns["photo_id"]) == {f"l{number}-0" for number in range(10)}
    row = columns["photo_id"].index("l3-0")
    assert (columns["listing_id"][row], columns["category"][row], columns["price"][row]) == ("l3", "Garden", 4.0)
    assert (columns["y"][row], body["total_photos"]) == (0.1235, 20)
    assert {None, 0.123} == set(columns["confidence"])
    assert {None, "Home"} == set(columns["predicted_category"])
    assert read_only_client.get(columns["photo_url"][row]).headers["content-type"] == "image/jpeg"
    few = read_only_client.get("/v1/map", params={"limit": 3}).json()["columns"]
    assert len(few["x"]) == 3
    assert set(few["photo_id"]) < set(columns["photo_id"])


def test_the_map_is_compressed_where_asked(read_only_client: TestClient) -> None:
    """With gzip the body is the same but smaller; with a matching ETag it is empty."""
    plain = read_only_client.get("/v1/map", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    with read_only_client.stream("GET", "/v1/map", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert plain.headers["vary"] == answer.headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(raw) == plain.content
    again = read_only_client.get("/v1/map", headers={"If-None-Match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_map_is_rendered_once_while_its_addresses_hold(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The map is rendered again when its signed URLs change, once an hour; URLs of both hours work."""
    rendered: list[int] = []
    render = map_response
    monkeypatch.setattr(
        "search_api.review.map_response.map_response", lambda *arguments: rendered.append(1) or render(*arguments)
    )
    sent = {"Authorization": f"Bearer {create_key(Path(client.app.state.settings.keys), 'k', 'read')}"}
    now = time.time() // 3600 * 3600 + 3_599

    def address(seconds: float) -> str:
        monkeypatch.setattr(search_api.auth.signed_urls.time, "time", lambda: now + seconds)
        return str(client.get("/v1/map", headers=sent).json()["columns"]["photo_url"][0])

    first, same, next_hour = address(0), address(0.5), address(2)
    assert first == same != next_hour
    assert len(rendered) == 2
    assert "signature=" in first
    assert client.get(first).status_code == client.get(next_hour).status_code == 200


def test_confusion_and_its_cells(read_only_client: TestClient) -> None:
    """Each cell of the matrix lists as many photos as it counts."""
    body = read_only_client.get("/v1/insights/confusion").json()
    assert (body["categories"], body["predicted_categories"]) == (["Garden", "Home"], ["Home"])
    for category, (count,) in zip(body["categories"], body["counts"], strict=True):
        cell = read_only_client.get("/v1/insights/photos", params={"category": category, "predicted": "Home"}).json()
        assert cell["total"] == len(cell["photos"]) == count > 0
        assert {photo["category"] for photo in cell["photos"]} == {category}
        assert {photo["predicted_category"] for photo in cell["photos"]} == {"Home"}


def test_outliers_page_by_page(client: TestClient) -> None:
    """Outliers are listed once, least typical first, with scores; removed photos are omitted."""
    client.delete("/v1/listings/l3")
    seen, after = [], None
    while True:
        params = {"category": "Garden", "outliers": True, "limit": 3} | ({} if after is None else {"after": after})
        body = client.get("/v1/insights/photos", params=params).json()
        assert body["total"] == 9
        seen += [(photo["score"], photo["photo_id"]) for photo in body["photos"]]
        after = body["next_after"]
        if after is None:
            break
    assert seen == sorted(seen)
    assert len({photo_id for _, photo_id in seen}) == len(seen) == 7
    assert not any(photo_id.startswith("l3") for _, photo_id in seen)


def test_a_suggestion_has_its_evidence(read_only_client: TestClient) -> None:
    """A suggestion has the current listing, its photos with the suspected one first, and the neighbours."""
    first = read_only_client.get("/v1/insights/suggestions", params={"limit": 1}).json()["suggestions"][0]
    assert (first["listing_id"], first["category"], first["suggested_category"]) == ("l1", "Garden", "Home")
    assert (first["title"], first["price"], first["rank"]) == ("Thing 1", 2.0, 1)
    assert first["photo_urls"] == [f"/v1/photos/l1-{number}/image" for number in range(2)]
    assert [(near["photo_id"], near["listing_id"], near["category"]) for near in first["neighbours"]] == [
        ("l2-0", "l2", "Home"),
        ("l4-1", "l4", "Home"),
    ]
    assert first["neighbours"][0]["similarity"] == 0.75


def test_suggestions_page_by_page(client: TestClient) -> None:
    """Most certain first; a verdict between two pages neither skips nor repeats any; the last page says so."""
    assert suggested(client, limit=2) == (["l1", "l3"], 5, 2)
    decide(client, "accept", **wrong_category("l1"))
    assert suggested(client, limit=2, after=2) == (["l0", "l5"], 4, 4)
    assert suggested(client, limit=2, after=4) == (["l7"], 4, None)
    assert suggested(client, limit=4) == (["l3", "l0", "l5", "l7"], 4, None)
    assert suggested(client, category="Home") == (["l0"], 1, None)
    assert suggested(client, suggested="Home", limit=1) == (["l3"], 3, 2)
    assert suggested(client, category="Home", suggested="Home") == ([], 0, None)


def test_a_suggestion_is_asked_once(client: TestClient) -> None:
    """An accepted or rejected suggestion is not shown again; a skipped one only on request."""
    accepted = decide(client, "accept", **wrong_category("l1"))
    decide(client, "reject", **wrong_category("l3"))
    decide(client, "skip", **wrong_category("l5"))
    decide(client, "accept", **wrong_category("l7", other="Another"))  # another question
    assert suggested(client) == (["l0", "l7"], 2, None)
    assert suggested(client, skipped=True) == (["l0", "l5", "l7"], 3, None)
    client.delete(f"/v1/verdicts/{accepted}")
    assert suggested(client) == (["l1", "l0", "l7"], 3, None)


def test_outdated_suggestions_are_not_shown(client: TestClient) -> None:
    """Suggestions are omitted if their listing or photo was removed or their category was changed."""
    client.delete("/v1/listings/l1")
    put = {"title": "T", "category": "Home", "photos": [{"photo_id": "l3-0"}, {"photo_id": "l3-1"}]}
    assert client.put("/v1/listings/l3", json=put).status_code == 200
    put = {"title": "T", "category": "Garden", "photos": [{"photo_id": "l5-1"}]}
    assert client.put("/v1/listings/l5", json=put).status_code == 200
    client.delete("/v1/listings/l2")
    assert suggested(client) == (["l0", "l7"], 2, None)
    assert suggested(client, limit=1) == (["l0"], 3, 3)


def test_a_group_of_duplicates(read_only_client: TestClient) -> None:
    """A group has its listings with the matching photos, and their differences."""
    first, _, third = read_only_client.get("/v1/insights/duplicates").json()["groups"]
    assert (first["kind"], first["probability"], third["probability"]) == ("same_bytes", None, 0.75)
    assert [listing["listing_id"] for listing in first["listings"]] == ["l0", "l2", "l4"]
    assert [[photo["photo_id"] for photo in listing["photos"]] for listing in first["listings"]] == [
        ["l0-0"],
        ["l2-0"],
        ["l4-0"],
    ]
    assert [listing["photos"][0]["score"] for listing in first["listings"]] == pytest.approx([0.51, 0.5, 0.51])
    assert (first["price_low"], first["price_high"]) == (1.0, 5.0)
    assert (first["same_place"], first["same_category"], third["same_category"]) == (True, True, False)


def test_prices_in_two_currencies_are_not_compared(client: TestClient) -> None:
    """A group with prices in several currencies has no price range."""
    put = {"title": "T", "category": "Garden", "price": 3, "currency": "EUR", "photos": [{"photo_id": "l5-0"}]}
    assert client.put("/v1/listings/l5", json=put).status_code == 200
    group = client.get("/v1/insights/duplicates", params={"kind": "same_photo"}).json()["groups"][0]
    assert (group["price_low"], group["price_high"]) == (None, None)


def test_duplicates_page_by_page(read_only_client: TestClient) -> None:
    """Each group is listed once, the last page says so, and groups can be filtered by kind."""
    assert grouped(read_only_client, limit=2) == ([["l0", "l2", "l4"], ["l5", "l7"]], 3, 2)
    assert grouped(read_only_client, limit=2, after=2) == ([["l8", "l9"]], 3, None)
    assert grouped(read_only_client, kind="same_item") == ([["l8", "l9"]], 1, None)


def test_a_duplicate_is_asked_once(client: TestClient, tmp_path: Path) -> None:
    """A decided group and all its subsets are not shown again; with a further listing it is a new question."""
    decide(client, "accept", listing_ids=["l4", "l0", "l2"])
    decide(client, "skip", listing_ids=["l5", "l7"])
    assert grouped(client) == ([["l8", "l9"]], 1, None)
    assert grouped(client, skipped=True) == ([["l5", "l7"], ["l8", "l9"]], 2, None)
    write_insights(
        tmp_path / "insights", stored(client.app), (), [duplicate("l4", "l2"), duplicate("l0", "l2", "l4", "l6")]
    )
    assert grouped(client) == ([["l0", "l2", "l4", "l6"]], 1, None)


def test_removed_listings_leave_their_group(client: TestClient) -> None:
    """Removed listings leave their group; a group of one listing, or one already decided, is omitted."""
    client.delete("/v1/listings/l0")
    client.delete("/v1/listings/l8")
    assert grouped(client) == ([["l2", "l4"], ["l5", "l7"]], 2, None)
    decide(client, "reject", listing_ids=["l2", "l4", "elsewhere"])
    assert grouped(client) == ([["l5", "l7"]], 1, None)


def test_verdicts_listed_and_taken_back(client: TestClient) -> None:
    """Verdicts are listed newest first, page by page, by kind and decision; a withdrawn one is returned and deleted."""
    first = decide(client, "accept", **wrong_category("l1"))
    second = decide(client, "reject", listing_ids=["l0", "l2"])
    page = client.get("/v1/verdicts", params={"limit": 1}).json()
    assert (page["verdicts"][0]["verdict_id"], page["total"], page["next_before"]) == (second, 2, second)
    assert page["verdicts"][0]["question"] == {"kind": "duplicate", "listing_ids": ["l0", "l2"]}
    page = client.get("/v1/verdicts", params={"limit": 1, "before": second}).json()
    assert (page["verdicts"][0]["verdict_id"], page["next_before"]) == (first, None)
    assert client.get("/v1/verdicts", params={"kind": "duplicate", "decision": "accept"}).json()["total"] == 0
    assert client.delete(f"/v1/verdicts/{first}").json()["question"]["listing_id"] == "l1"
    assert client.delete(f"/v1/verdicts/{first}").status_code == 404
    assert client.get("/v1/verdicts").json()["total"] == 1


@pytest.mark.parametrize(
    "put",
    [
        {"question": {"kind": "duplicate", "listing_ids": ["l1", "l1"]}, "decision": "accept"},
        {"question": {"kind": "duplicate", "listing_ids": ["l1"]}, "decision": "accept"},
        {"question": {"kind": "wrong_category", **wrong_category("l1\0")}, "decision": "accept"},
        {"question": {"kind": "wrong_category", **wrong_category("l1")}, "decision": "accept", "note": "\0"},
        {"question": {"kind": "wrong_category", **wrong_category("l1")}, "decision": "maybe"},
        {"question": {"kind": "other"}, "decision": "accept"},
        {"decision": "accept"},
    ],
)
def test_invalid_verdicts_are_refused(read_only_client: TestClient, put: object) -> None:
    """An invalid verdict gives 422 with a reason, and nothing is stored."""
    answer = read_only_client.post("/v1/verdicts", json=put)
    assert answer.status_code == 422
    assert answer.json()["detail"]
    assert read_only_client.get("/v1/verdicts").json()["total"] == 0


def test_a_lone_surrogate_is_refused(read_only_client: TestClient) -> None:
    """A lone surrogate gives 422, because no database can store it."""
    body = b'{"question": {"kind": "duplicate", "listing_ids": ["\\ud800", "b"]}, "decision": "accept"}'
    assert (
        read_only_client.post("/v1/verdicts", content=body, headers={"Content-Type": "application/json"}).status_code
        == 422
    )


def test_searches_need_no_verdicts(
    make_export: MakeExport, embedder: Embedder, lite: MilvusSettings, tmp_path: Path
) -> None:
    """If the verdict database is unavailable, the service starts and searches; verdict routes return 503."""
    app = make_app(make_export(), embedder, lite)
    write_insights(tmp_path / "insights", stored(app), SUGGESTIONS[:1])
    (tmp_path / "verdicts.db").mkdir()
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.post("/v1/search", json={"listing_id": "l1"}).status_code == 200
        for path in ("/v1/verdicts", "/v1/insights/suggestions"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "verdicts_unavailable")
            assert answer.headers["retry-after"]
        (tmp_path / "verdicts.db").rmdir()
        assert client.get("/v1/verdicts").json()["total"] == 0


def test_who_decided(client: TestClient) -> None:
    """A verdict stores the name of the key that decided."""
    keys = Path(client.app.state.settings.keys)
    tokens = {scope: create_key(keys, f"{scope}-key", scope) for scope in ("read", "write")}
    put = {"question": {"kind": "wrong_category", **wrong_category("l1")}, "decision": "accept"}
    sent = {scope: {"Authorization": f"Bearer {token}"} for scope, token in tokens.items()}
    assert client.post("/v1/verdicts", json=put, headers=sent["write"]).json()["decided_by"] == "write-key"
    assert client.post("/v1/verdicts", json=put, headers=sent["read"]).status_code == 403
    assert client.post("/v1/verdicts", json=put).status_code == 401
    assert client.get("/v1/verdicts", headers=sent["read"]).json()["total"] == 1
    assert client.delete("/v1/verdicts/1", headers=sent["read"]).status_code == 403
    assert client.get("/v1/map").status_code == client.get("/v1/insights/suggestions").status_code == 401

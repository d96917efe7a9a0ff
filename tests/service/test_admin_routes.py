"""Routes for operators: whoami, builds, ingest runs, models, activity."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from catalog.settings import IndexSettings, MilvusSettings, Settings
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from search_api.app import create_app
from search_api.auth.api_keys import create_key
from search_api.serving import live_catalogue
from search_api.telemetry.activity import Activity, quantile
from search_api.telemetry.metrics import Metrics
from tests.support.data.builds import OTHER, OWN, build, load, new_build
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport
from tests.support.data.insight_files import write_insights
from tests.support.data.models import fake_embedder
from tests.support.data.pictures import jpeg, picture
from tests.support.servers.serving import make_app

PNG = b"\x89PNG\r\n\x1a\n..."


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the alias more often than in production."""
    monkeypatch.setattr(live_catalogue, "WATCH_SECONDS", 0.05)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of the live model: its card, two plots, and files that must stay private."""
    folder = tmp_path / "models" / "own"
    (folder / "plots").mkdir(parents=True)
    (folder / "model.json").write_text(fake_embedder().card.model_dump_json())
    for name in ("loss.png", "confusion.png"):
        (folder / "plots" / name).write_bytes(PNG)
    (folder / "plots" / "secret.txt").write_text("secret")
    (folder / "secret.png").write_text("secret")
    return folder


@pytest.fixture
def photos(make_export: MakeExport, lite: MilvusSettings, model: Path) -> Iterator[PhotoCollection]:
    """A live collection of twenty photos; two rows of its export were rejected."""
    photos = PhotoCollection.connect(lite, IndexSettings(), consistency="Session")
    photos.ensure(OWN, 2048, model=str(model))
    export = make_export(listings=10, photos_each=2)
    with (export / "Images.csv").open("a") as file:
        file.write("98,l0-0,l5\n99,x,nobody\n")
    ingest_export(export, fake_embedder(), photos)
    yield photos
    photos.close()


@pytest.fixture
def client(photos: PhotoCollection, tmp_path: Path) -> Iterator[TestClient]:
    with ExitStack() as stack:
        yield start(stack, photos, tmp_path)


def start(stack: ExitStack, photos: PhotoCollection, tmp_path: Path, embedder: Embedder | None = None) -> TestClient:
    settings = Settings.model_validate(
        {
            "api": {"keys": tmp_path / "keys.json", "recall_seconds": 0},
            "ingest": {"ledger": tmp_path / "ledger"},
            "insights": {"folder": tmp_path / "insights"},
        }
    )
    app = create_app(settings, embedder or fake_embedder(), photos, load)
    return stack.enter_context(TestClient(app, raise_server_exceptions=False))


def builds(answer: httpx.Response) -> list[tuple[str, bool, bool, int | None]]:
    assert answer.status_code == 200, answer.text
    return [(item["name"], item["is_live"], item["is_previous"], item["photos"]) for item in answer.json()["builds"]]


def test_builds_promoted_and_rolled_back(client: TestClient, photos: PhotoCollection) -> None:
    """The list shows the live and the previous build, before and after each step."""
    old = photos.builds.live().name
    assert builds(client.get("/v1/builds")) == [(old, True, False, 20)]
    assert client.get("/v1/builds").json()["builds"][0]["index"] == {"type": "IVF_FLAT", "nlist": 128, "nprobe": 64}
    assert client.post("/v1/builds/rollback").status_code == 404
    new = build(photos, OWN)
    assert builds(client.get("/v1/builds")) == [(new.name, False, False, 20), (old, True, False, 20)]
    promoted = client.post(f"/v1/builds/{new.build}/promote")
    assert builds(promoted) == [(new.name, True, False, 20), (old, False, True, 20)]
    assert photos.builds.live().name == new.name
    assert builds(client.post("/v1/builds/rollback")) == [(new.name, False, False, 20), (old, True, False, 20)]
    assert photos.builds.live().name == old


def test_refused_promotions(client: TestClient, photos: PhotoCollection) -> None:
    """The live build, an incomplete one, one that lacks photos and an unknown one are refused with a reason."""
    old = photos.builds.live().name
    empty, complete = new_build(photos, OWN), build(photos, OWN)
    photos.at(complete).writer.remove(["l0-0"])
    for name, status, words in (
        (old, 409, "already live"),
        (empty.name, 409, "not complete"),
        (complete.name, 409, "missing"),
        ("nobody", 404, "no build"),
        ("..", 404, ""),
    ):
        answer = client.post(f"/v1/builds/{name}/promote")
        assert answer.status_code == status, answer.text
        assert words in answer.json()["detail"]
    assert photos.builds.live().name == old


def test_builds_are_shown_while_none_answers(photos: PhotoCollection, tmp_path: Path) -> None:
    """If the live build's model cannot be loaded, an operator can still list the builds and roll back."""
    old = photos.builds.live().name
    new = build(photos, OTHER)
    photos.builds.note_model(new.name, "/models/nowhere")
    photos.builds.promote(new)
    with ExitStack() as stack:
        client = start(stack, photos, tmp_path)
        assert client.post("/v1/search", json={"listing_id": "l1"}).status_code == 503
        assert [item[:3] for item in builds(client.get("/v1/builds"))] == [(new.name, True, False), (old, False, True)]
        assert client.post("/v1/builds/rollback").status_code == 200
        assert client.post("/v1/search", json={"listing_id": "l1"}).status_code == 200


def test_runs_and_what_they_rejected(client: TestClient, photos: PhotoCollection, tmp_path: Path) -> None:
    """Runs are listed newest first, with consistent counts; rejected rows have reasons, page by page."""
    ingest_export(tmp_path / "export", fake_embedder(), photos)
    second, first = client.get("/v1/runs").json()["runs"]
    assert (first["read"], first["written"], first["rejected"]) == (22, 20, 2)
    assert (second["read"], second["unchanged"], second["rejected"]) == (22, 20, 2)
    assert first["started_at"] <= second["started_at"]
    assert client.get("/v1/runs", params={"limit": 1}).json()["runs"] == [second]
    path = f"/v1/runs/{first['run_id']}/rejected"
    whole = client.get(path).json()
    assert [(row["photo_id"], row["reason"]) for row in whole["rows"]] == [
        ("l0-0", "duplicate_photo_id"),
        ("x", "unknown_listing"),
    ]
    assert (whole["total"], whole["next_after"]) == (2, None)
    page = client.get(path, params={"limit": 1}).json()
    assert (page["rows"], page["total"], page["next_after"]) == (whole["rows"][:1], 2, 1)
    page = client.get(path, params={"limit": 1, "after": 1}).json()
    assert (page["rows"], page["next_after"]) == (whole["rows"][1:], None)
    assert client.get(path, params={"after": 2}).json()["rows"] == []


@pytest.mark.parametrize("run_id", ["20260101T000000Z-abcdef", "..", "%2e%2e%2fledger", "*", "a%00b", ""])
def test_unknown_run(client: TestClient, run_id: str) -> None:
    """An invalid run id gives 404 and cannot reach other files."""
    assert client.get(f"/v1/runs/{run_id}/rejected").status_code == 404


def test_no_ledger_is_no_run(make_export: MakeExport, embedder: Embedder, lite: MilvusSettings, tmp_path: Path) -> None:
    """If ingest runs on another machine, the list is empty."""
    app = make_app(make_export(), embedder, lite)
    (tmp_path / "ledger").rename(tmp_path / "elsewhere")
    with TestClient(app) as client:
        assert client.get("/v1/runs").json() == {"runs": []}


def test_models(client: TestClient, photos: PhotoCollection, model: Path) -> None:
    """The models of all builds are listed once; unreadable ones have a reason."""
    build(photos, OWN)
    for folder in ("/models/nowhere", str(model)):
        other = build(photos, OTHER)
        photos.builds.note_model(other.name, folder)
    body = client.get("/v1/models").json()
    (own,) = body["models"]
    assert (own["name"], own["is_live"], own["plots"]) == ("fake", True, ["confusion.png", "loss.png"])
    assert own["architecture"]["trunk"] == "resnet50"
    assert any("/models/nowhere" in text for text in body["unreadable"])
    assert any("holds the model" in text for text in body["unreadable"])
    assert len(body["unreadable"]) == 2


def test_a_link_out_of_the_folder_is_no_picture(client: TestClient, tmp_path: Path) -> None:
    """A link in a model folder cannot expose files that only the service may read."""
    (tmp_path / "secret.txt").write_text("secret")
    (own,) = (model for model in client.get("/v1/models").json()["models"] if model["model_fingerprint"] == OWN)
    link = Path(own["folder"]) / "plots" / "link.png"
    link.symlink_to(tmp_path / "secret.txt")
    (own,) = (model for model in client.get("/v1/models").json()["models"] if model["model_fingerprint"] == OWN)
    assert "link.png" not in own["plots"]
    assert client.get(f"/v1/models/{OWN}/plots/link.png").status_code == 404


def test_plots(client: TestClient) -> None:
    """A plot is returned as PNG; no other file inside or outside the folder is."""
    path = f"/v1/models/{OWN}/plots"
    answer = client.get(f"{path}/loss.png")
    assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")
    for name in ("secret.txt", "..%2fsecret.png", "../secret.png", "%2e%2e/secret.png", "..%2fmodel.json", "a%00.png"):
        answer = client.get(f"{path}/{name}")
        assert answer.status_code == 404, name
        assert b"secret" not in answer.content.replace(b"secret.", b"")
    assert client.get(f"/v1/models/{OTHER}/plots/loss.png").status_code == 404


def test_whoami(client: TestClient, tmp_path: Path) -> None:
    """Without keys everybody is admin; a valid key returns its name and scope; a wrong key gives 401."""
    assert client.get("/v1/whoami").json() == {"name": "", "scope": "admin", "keys_needed": False}
    token = create_key(tmp_path / "keys.json", "shop", "write")
    for sent in ({"Authorization": f"Bearer {token}"}, {"X-API-Key": token}):
        assert client.get("/v1/whoami", headers=sent).json() == {"name": "shop", "scope": "write", "keys_needed": True}
    assert client.get("/v1/whoami").json() == {"name": "", "scope": "", "keys_needed": True}
    wrong_keys = [{"Authorization": f"Bearer {token}x"}, {"X-API-Key": "x"}, {"Authorization": "Bearer mlk_"}]
    elsewhere = client.get("/v1/categories").json() | {"request_id": ""}
    for sent in wrong_keys:
        answer = client.get("/v1/whoami", headers=sent)
        assert (answer.status_code, answer.json() | {"request_id": ""}) == (401, elsewhere)


def test_scopes(client: TestClient, photos: PhotoCollection, tmp_path: Path) -> None:
    """Each route requires its documented scope: 401 without a key, 403 with a narrower scope."""
    write_insights(tmp_path / "insights", photos)
    tokens = {scope: create_key(tmp_path / "keys.json", scope, scope) for scope in ("read", "write", "admin")}
    routes_by_scope = {
        "read": [
            *(("GET", f"/v1/insights{part}") for part in ("", "/confusion", "/photos", "/suggestions", "/duplicates")),
            ("GET", "/v1/map"),
            ("GET", "/v1/verdicts"),
            ("GET", "/v1/models"),
            ("GET", f"/v1/models/{OWN}/plots/loss.png"),
        ],
        "write": [("POST", "/v1/verdicts"), ("DELETE", "/v1/verdicts/1")],
        "admin": [
            ("GET", "/v1/builds"),
            ("POST", "/v1/builds/x/promote"),
            ("POST", "/v1/builds/rollback"),
            ("GET", "/v1/runs"),
            ("GET", "/v1/runs/x/rejected"),
            ("GET", "/v1/activity"),
        ],
    }
    put = {"question": {"kind": "duplicate", "listing_ids": ["a", "b"]}, "decision": "skip"}
    scopes = list(tokens)
    for scope, routes in routes_by_scope.items():
        for method, path in routes:
            body = {"json": put} if method == "POST" and path == "/v1/verdicts" else {}
            assert client.request(method, path, **body).status_code == 401, path
            for scope_of_key, token in tokens.items():
                answer = client.request(method, path, headers={"X-API-Key": token}, **body)
                is_allowed = scopes.index(scope_of_key) >= scopes.index(scope)
                assert (answer.status_code in {200, 404}) if is_allowed else answer.status_code == 403, (
                    path,
                    scope_of_key,
                )


def test_activity(client: TestClient) -> None:
    """An interval counts its requests, errors and times, without probes and earlier requests."""
    activity = client.app.state.activity
    activity.close()  # so that it does not read on its own
    read = activity.read
    for seed in range(3):
        client.post("/v1/search", files={"photo": ("p", jpeg(picture(seed)))})
    read(1_000)
    for seed in range(4):
        client.post("/v1/search", files={"photo": ("p", jpeg(picture(seed)))})
    client.get("/v1/listings/nobody")
    client.app.add_api_route("/bug", lambda: 1 / 0)
    client.get("/bug")
    for path in ("/livez", "/readyz", "/metrics"):
        client.get(path)
    read(1_010)
    read(1_020)
    body = client.get("/v1/activity").json()
    before, busy, idle = body["points"][-3:]
    assert (before["requests"], before["client_errors"], before["server_errors"]) == (3, 0, 0)
    assert (busy["requests"], busy["client_errors"], busy["server_errors"]) == (6, 1, 1)
    assert 0 < busy["p50_ms"] <= busy["p99_ms"]
    assert {"decode", "embed", "store"} <= busy["stage_ms"].keys()
    assert min(busy["stage_ms"].values()) > 0
    assert (idle["requests"], idle["p50_ms"], idle["p99_ms"], idle["stage_ms"]) == (0, None, None, {})
    assert datetime.fromisoformat(busy["at"]).timestamp() == 1_010
    assert body["seconds"] == 10
    client.app.state.metrics.recall.labels("Home").set(0.75)
    client.app.state.metrics.recall.labels("Garden").set(float("nan"))
    assert client.get("/v1/activity").json()["recall"] == {"Home": 0.75}


def test_activity_is_read_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """Activity is read in a background thread until it is closed, and old points are dropped."""
    monkeypatch.setattr("search_api.telemetry.activity.SECONDS", 0.02)
    activity = Activity(Metrics())
    activity.start()
    deadline = time.monotonic() + 120
    while len(activity.points()) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    activity.close()
    for number in range(1_100):
        activity.read(number)
    assert len(activity.points()) == 1_080


@pytest.mark.parametrize(
    ("within", "share", "expected"),
    [
        ({1.0: 0, 2.0: 10, float("inf"): 10}, 0.5, 1.5),
        ({1.0: 0, 2.0: 10, float("inf"): 10}, 0.99, 1.99),
        ({1.0: 5, 2.0: 5, float("inf"): 10}, 0.99, 2.0),
        ({1.0: 5, 2.0: 10, float("inf"): 10}, 0.5, 1.0),
        ({1.0: 0, float("inf"): 0}, 0.5, None),
        ({}, 0.5, None),
    ],
)
def test_quantiles(within: dict[float, int], share: float, expected: float | None) -> None:
    """Quantiles equal those of Prometheus' histogram_quantile."""
    found = quantile(share, within)
    assert found == (None if expected is None else pytest.approx(expected))

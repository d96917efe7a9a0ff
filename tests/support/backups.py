"""Backups and restores of whole machines: settings with homes of their own."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from catalog.progress import Advance
from catalog.settings import MilvusSettings, Settings
from catalog.store.collection import PhotoCollection
from marketlens.backup.create import make_backup
from marketlens.backup.manifest import Manifest, check_files, read_manifest
from marketlens.backup.restore import Restored, restore


def settings_of(home: Path, milvus: MilvusSettings) -> Settings:
    return Settings.model_validate(
        {
            "milvus": milvus.model_dump(),
            "model": {"path": home / "model"},
            "ingest": {"ledger": home / "ledger"},
            "check": {"golden": home / "golden"},
            "insights": {"folder": home / "insights"},
            "verdicts": {"url": f"sqlite:///{home / 'verdicts.db'}"},
            "api": {"photos": home / "photos"},
        }
    )


def opened(settings: Settings) -> "closing[PhotoCollection]":
    return closing(PhotoCollection.connect(settings.milvus, settings.index, consistency="Session"))


@contextmanager
def unwatched(_: str, __: int) -> Iterator[Advance]:
    yield lambda _: None


def back_up(settings: Settings, folder: Path) -> Manifest:
    with opened(settings) as photos:
        return make_backup(photos, settings, folder, unwatched)


def bring_back(folder: Path, settings: Settings, *, replace: bool = False) -> Restored:
    manifest = read_manifest(folder)
    check_files(folder, manifest, lambda _: None)
    with opened(settings) as photos:
        return restore(folder, manifest, photos, settings, unwatched, print, replace=replace)

"""Back up and restore a whole machine: a settings object per home folder."""

from contextlib import closing
from pathlib import Path

from catalog.progress import silent
from catalog.settings import MilvusSettings, Settings
from catalog.store.collection import PhotoCollection
from marketlens.backup.manifest import Manifest, check_files, read_manifest
from marketlens.backup.restore import RestoreResult, restore
from marketlens.backup.writer import make_backup


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


def open_photos(settings: Settings) -> "closing[PhotoCollection]":
    return closing(PhotoCollection.connect(settings.milvus, settings.index, consistency="Session"))


def back_up(settings: Settings, folder: Path) -> Manifest:
    with open_photos(settings) as photos:
        return make_backup(photos, settings, folder, silent)


def restore_backup(folder: Path, settings: Settings, *, replace: bool = False) -> RestoreResult:
    manifest = read_manifest(folder)
    check_files(folder, manifest, lambda _: None)
    with open_photos(settings) as photos:
        return restore(folder, manifest, photos, settings, silent, print, replace=replace)

"""Restore a backup: fill a new build beside the existing ones, verify it, and only then make it live."""

import json
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from dataclasses import replace as with_fields
from functools import partial
from pathlib import Path

from catalog.errors import BuildRefused, CollectionMissing, MarketlensError, ModelMismatch, OutputFailed
from catalog.progress import Progress
from catalog.settings import Settings
from catalog.store.builds import CollectionInfo
from catalog.store.collection import PhotoCollection
from catalog.verdicts import Verdict, VerdictStore
from embedding.card import CARD, read_card
from index_builds.golden_queries import golden_path
from ingest.store_retry import StoreRetry
from insights.result_files import SUMMARY
from marketlens.backup import manifest as layout
from marketlens.backup.file_copies import copy_file
from marketlens.backup.loader import load_photos
from marketlens.backup.manifest import Manifest
from marketlens.backup.writer import VERDICT


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """The collection that is live now, and the numbers of files and verdicts that the restore added."""

    info: CollectionInfo
    model_files: int
    uploads: int
    ledger_files: int
    verdicts: int


def restore(
    backup: Path,
    manifest: Manifest,
    photos: PhotoCollection,
    settings: Settings,
    progress: Progress,
    say: Callable[[str], None],
    *,
    replace: bool,
) -> RestoreResult:
    """Make a build of a backup whose files were checked, and make it live. Wait for Milvus if it becomes unreachable.

    If the restore is killed at any moment, it can be run again. Existing files and verdicts are not changed. Raises,
    unless `replace`, BuildRefused if there is a catalogue and OutputFailed if there are other verdicts; ModelMismatch
    if the folder of the settings holds another model; StoreFailed if Milvus does not hold what was written to it; and
    what writing raises.
    """
    _require_no_catalogue(photos, settings, replace=replace)
    _require_same_model(settings.model.path, manifest)
    retry = StoreRetry(settings.ingest.wait_seconds, say)
    with closing(VerdictStore(settings.verdicts.url.get_secret_value())) as store:
        verdicts = _missing_verdicts(backup, store, replace=replace)
        try:
            model_files = _copy(backup, manifest, layout.MODEL, settings.model.path)
            uploads = _copy(backup, manifest, layout.UPLOADS, settings.api.photos)
            ledger_files = _copy(backup, manifest, layout.LEDGER, settings.ingest.ledger)
            info = _new_build(manifest, photos, settings)
            try:
                load_photos(photos.at(info), backup, manifest, settings, progress, retry)
                _copy_collection_files(info, backup, manifest, settings)
                count = store.import_verdicts(verdicts) if verdicts else 0
                retry(partial(photos.builds.finish, info.name))
                info = photos.builds.describe(info.name)
                photos.builds.go_live(info)
            except BaseException:
                with suppress(MarketlensError):
                    photos.builds.drop(info, force=True)
                raise
        except OSError as error:
            raise OutputFailed(
                f"The backup {backup} could not be restored: {error}", hint="Free some disk space, and run it again."
            ) from error
    return RestoreResult(info, model_files, uploads, ledger_files, count)


def _require_no_catalogue(photos: PhotoCollection, settings: Settings, *, replace: bool) -> None:
    if replace:
        return
    with suppress(CollectionMissing):
        live = photos.builds.live()
        count = photos.at(live).reader.count()
        raise BuildRefused(
            f"There is already a catalogue in {settings.milvus.uri_without_password}: {live.name}, {count:,} photos.",
            hint="--replace replaces it with the backup; marketlens index rollback goes back. "
            "Or restore to another place: --uri, MARKETLENS_MILVUS__ALIAS.",
        )


def _require_same_model(folder: Path, manifest: Manifest) -> None:
    if (folder / CARD).exists() and (found := read_card(folder).fingerprint) != manifest.fingerprint:
        raise ModelMismatch(
            f"{folder} holds the model {found[:12]}, but the backup was made with {manifest.fingerprint[:12]}.",
            hint="Name another folder for the backup's model: --model FOLDER.",
        )


def _missing_verdicts(backup: Path, store: VerdictStore, *, replace: bool) -> list[Verdict]:
    backed_up = [VERDICT.validate_json(line) for line in (backup / layout.VERDICTS).read_bytes().splitlines()]
    existing = list(store.all_verdicts())
    if not existing:
        return backed_up
    if not replace and _without_ids(existing) != _without_ids(backed_up):
        raise OutputFailed(
            f"There are already {len(existing):,} verdicts in {store.uri_without_password}.",
            hint="Name an empty database with MARKETLENS_VERDICTS__URL, or keep these verdicts with --replace.",
        )
    return []


def _without_ids(verdicts: list[Verdict]) -> list[Verdict]:
    return [with_fields(verdict, verdict_id=0) for verdict in verdicts]


def _new_build(manifest: Manifest, photos: PhotoCollection, settings: Settings) -> CollectionInfo:
    for info in photos.builds.all():
        if info.state == "restoring":  # left behind by a killed restore
            photos.builds.drop(info, force=True)
    model = str(settings.model.path.absolute())
    return photos.builds.create(manifest.fingerprint, manifest.dim, settings.index, model=model, state="restoring")


def _copy(backup: Path, manifest: Manifest, folder: str, target: Path) -> int:
    """Copy the files that `target` lacks; return how many were copied."""
    # A model's card last: it marks the folder as a complete model.
    missing = [name for name in manifest.files_in(folder) if not (target / name).exists()]
    for name in sorted(missing, key=lambda name: (name == CARD, name)):
        copy_file(backup / folder / name, target / name)
    return len(missing)


def _copy_collection_files(info: CollectionInfo, backup: Path, manifest: Manifest, settings: Settings) -> None:
    """Copy golden queries and insights, which are stored under the collection's name."""
    if layout.GOLDEN in manifest.files:
        copy_file(backup / layout.GOLDEN, golden_path(settings.check.golden, info.name))
    if f"{layout.INSIGHTS}/{SUMMARY}" in manifest.files:
        folder = settings.insights.folder / info.name
        _copy(backup, manifest, layout.INSIGHTS, folder)
        summary = json.loads((folder / SUMMARY).read_text())
        (folder / SUMMARY).write_text(json.dumps(summary | {"collection": info.name}, indent=1) + "\n")

"""Restore a backup: a build beside whatever is there, filled, verified, and only then the live one."""

import json
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from dataclasses import replace as changed
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
from ingest.patience import Patience
from insights.store import SUMMARY
from marketlens.backup import manifest as names
from marketlens.backup.create import VERDICT
from marketlens.backup.file_copies import copy_file
from marketlens.backup.fill import fill
from marketlens.backup.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Restored:
    """The collection that is live now, and how many files or verdicts were not there before."""

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
) -> Restored:
    """Make a build of a backup whose files were checked, and have it take over. A Milvus that goes away is waited for.

    Killed at any moment, it ends well when it is run again. Files and verdicts that are there stay as they are.
    Raises, unless `replace`, BuildRefused where there is a catalogue and OutputFailed where there are other verdicts;
    ModelMismatch where the folder of the settings holds another model; StoreFailed where Milvus does not hold what it
    was given; and what writing raises.
    """
    _require_no_catalogue(photos, settings, replace=replace)
    _require_its_model(settings.model.path, manifest)
    patience = Patience(settings.ingest.wait_seconds, say)
    with closing(VerdictStore(settings.verdicts.url.get_secret_value())) as store:
        verdicts = _missing_verdicts(backup, store, replace=replace)
        try:
            model_files = _copy(backup, manifest, names.MODEL, settings.model.path)
            uploads = _copy(backup, manifest, names.UPLOADS, settings.api.photos)
            ledger_files = _copy(backup, manifest, names.LEDGER, settings.ingest.ledger)
            info = _new_build(manifest, photos, settings)
            try:
                fill(photos.at(info), backup, manifest, settings, progress, patience)
                _copy_for(info, backup, manifest, settings)
                count = store.fill(verdicts) if verdicts else 0
                patience(partial(photos.builds.finish, info.name))
                info = photos.builds.describe(info.name)
                photos.builds.go_live(info)
            except BaseException:
                with suppress(MarketlensError):
                    photos.builds.drop(info, force=True)
                raise
        except OSError as error:
            raise OutputFailed(
                f"The backup {backup} could not be restored: {error}", hint="Make room there, and run it again."
            ) from error
    return Restored(info, model_files, uploads, ledger_files, count)


def _require_no_catalogue(photos: PhotoCollection, settings: Settings, *, replace: bool) -> None:
    if replace:
        return
    with suppress(CollectionMissing):
        live = photos.builds.live()
        count = photos.at(live).reader.count()
        raise BuildRefused(
            f"There is a catalogue in {settings.milvus.shown} already: {live.name}, {count:,} photos.",
            hint="--replace puts the backup in its place; marketlens index rollback goes back. "
            "Or name another place: --uri, MARKETLENS_MILVUS__ALIAS.",
        )


def _require_its_model(folder: Path, manifest: Manifest) -> None:
    if (folder / CARD).exists() and (found := read_card(folder).fingerprint) != manifest.fingerprint:
        raise ModelMismatch(
            f"{folder} holds the model {found[:12]}, but the backup was made with {manifest.fingerprint[:12]}.",
            hint="--model FOLDER says where the backup's own model is to go.",
        )


def _missing_verdicts(backup: Path, store: VerdictStore, *, replace: bool) -> list[Verdict]:
    wanted = [VERDICT.validate_json(line) for line in (backup / names.VERDICTS).read_bytes().splitlines()]
    there = list(store.every())
    if not there:
        return wanted
    if not replace and [changed(one, verdict_id=0) for one in there] != [changed(one, verdict_id=0) for one in wanted]:
        raise OutputFailed(
            f"There are {len(there):,} verdicts in {store.shown} already.",
            hint="Name an empty database with MARKETLENS_VERDICTS__URL, or let these stay with --replace.",
        )
    return []


def _new_build(manifest: Manifest, photos: PhotoCollection, settings: Settings) -> CollectionInfo:
    for info in photos.builds.all():
        if info.state == "restoring":  # what a killed restore left behind
            photos.builds.drop(info, force=True)
    model = str(settings.model.path.absolute())
    return photos.builds.create(manifest.fingerprint, manifest.dim, settings.index, model=model, state="restoring")


def _copy(backup: Path, manifest: Manifest, folder: str, target: Path) -> int:
    """Copy the files that `target` lacks; returns how many those were."""
    # A model's card last: with it, the folder is a whole model.
    missing = [name for name in manifest.below(folder) if not (target / name).exists()]
    for name in sorted(missing, key=lambda name: (name == CARD, name)):
        copy_file(backup / folder / name, target / name)
    return len(missing)


def _copy_for(info: CollectionInfo, backup: Path, manifest: Manifest, settings: Settings) -> None:
    """Golden queries and insights, which are kept under the collection's name."""
    if names.GOLDEN in manifest.files:
        copy_file(backup / names.GOLDEN, golden_path(settings.check.golden, info.name))
    if f"{names.INSIGHTS}/{SUMMARY}" in manifest.files:
        place = settings.insights.folder / info.name
        _copy(backup, manifest, names.INSIGHTS, place)
        summary = json.loads((place / SUMMARY).read_text())
        (place / SUMMARY).write_text(json.dumps(summary | {"collection": info.name}, indent=1) + "\n")

"""Write a backup of the live collection and of everything that belongs to it."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter

from catalog.atomic_files import new_folder
from catalog.errors import StoreFailed
from catalog.progress import Progress
from catalog.settings import Settings
from catalog.store.collection import PhotoCollection
from catalog.verdicts import Verdict, VerdictStore
from embedding.card import read_card
from index_builds.golden_queries import golden_path
from marketlens.backup import manifest as layout
from marketlens.backup.file_copies import copy_file, copy_missing
from marketlens.backup.manifest import MANIFEST, Manifest, sha256_of
from marketlens.backup.photo_tables import write_photos

VERDICT = TypeAdapter(Verdict)


def make_backup(photos: PhotoCollection, settings: Settings, folder: Path, progress: Progress) -> Manifest:
    """Write a complete backup to `folder`, which must not exist; a failure leaves nothing. Memory use is constant.

    If the API changes single listings meanwhile, each photo is saved in its state at some moment of the backup. Raises
    ModelMismatch unless the settings name the live collection's model; OutputFailed, VerdictsUnavailable, and what
    reading raises.
    """
    live = photos.at(photos.builds.live())
    info = live.require(read_card(settings.model.path).fingerprint)
    url = settings.verdicts.url.get_secret_value()
    with closing(VerdictStore(url)) as store, new_folder(folder, "The backup") as draft:
        # Before the records and after, so that each photo that is in a record is copied, whenever its file was there.
        copy_missing(settings.api.photos, draft / layout.UPLOADS)
        count, changed_meanwhile = _write_photos(live, draft / layout.PHOTOS, progress)
        copy_missing(settings.api.photos, draft / layout.UPLOADS)
        copy_missing(settings.model.path, draft / layout.MODEL)
        copy_missing(settings.ingest.ledger, draft / layout.LEDGER)
        copy_missing(settings.insights.folder / info.name, draft / layout.INSIGHTS)
        if (golden := golden_path(settings.check.golden, info.name)).exists():
            copy_file(golden, draft / layout.GOLDEN)
        verdicts = _write_verdicts(store, draft / layout.VERDICTS)
        manifest = Manifest(
            made_at=datetime.now(UTC),
            made_by=f"marketlens {version('marketlens')}",
            collection=info.name,
            fingerprint=info.fingerprint,
            dim=info.dim,
            index=info.index,
            changed_at=live.notes.changed_at(),
            changed_meanwhile=changed_meanwhile,
            photos=count,
            verdicts=verdicts,
            uploads=str(settings.api.photos.absolute()),
            files={path.relative_to(draft).as_posix(): sha256_of(path) for path in _list_files(draft)},
        )
        (draft / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
    return manifest


def _write_photos(live: PhotoCollection, folder: Path, progress: Progress) -> tuple[int, bool]:
    """Return the number of photos, and whether any were added or removed meanwhile."""
    live.reader.wait_for_scan_lag()
    before = _state_of(live)
    with progress("Backing up", before[0]) as advance:
        written = 0
        for count in write_photos(folder, live.reader.rows(), live.info().dim):
            written += count
            advance(count)
    live.reader.wait_for_scan_lag()
    after = _state_of(live)
    if before == after and written != after[0]:
        raise StoreFailed(
            f"{live.info().name} holds {after[0]:,} photos, but {written:,} could be read.",
            hint="Run it again when no ingest is running; if that does not help, run marketlens doctor.",
        )
    return written, before != after


def _state_of(live: PhotoCollection) -> tuple[int, int]:
    return live.reader.count(strong=True), live.notes.changed_at()


def _write_verdicts(store: VerdictStore, path: Path) -> int:
    count = 0
    with path.open("wb") as file:
        for count, verdict in enumerate(store.all_verdicts(), 1):  # noqa: B007 - the last number is the count
            file.write(VERDICT.dump_json(verdict) + b"\n")
    return count


def _list_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())

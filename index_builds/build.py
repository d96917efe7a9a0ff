"""Fill a build beside the live collection: copy vectors, mix titles anew, or embed every photo with another model."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from more_itertools import chunked

from catalog.errors import BuildRefused, ModelMismatch, NotFound
from catalog.listing import Embeddings, Rejected, StoredPhoto
from catalog.progress import Advance, Progress
from catalog.settings import IndexSettings, IngestSettings
from catalog.stage_timer import StageTimer
from catalog.store.builds import CollectionInfo
from catalog.store.collection import PhotoCollection
from embedding.card import CARD, read_card
from embedding.checkpoint import photo_fingerprint
from embedding.embedder import BATCH, Embedder
from index_builds.build_report import BuildReport
from index_builds.difference import Batch, find_suspects, look_up_batches
from ingest.stages.photo_reader import READERS, PhotoReader, ReadPhoto, pixels_of

MAX_PASSES = 10


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """A batch whose photos are being read; those in `to_copy` need no reading."""

    batch: Batch
    to_copy: list[StoredPhoto]
    reads: list[tuple[StoredPhoto, Future[ReadPhoto | Rejected]]]


@dataclass(frozen=True, slots=True)
class BuildMethod:
    """How a build gets its vectors.

    Without an embedder they are copied. With `new_words`, the photos' embeddings are the same in both models, so they
    are recovered by `old_words` (None: a model without words) and mixed with the titles anew, without their files.
    """

    embedder: Embedder | None = None
    old_words: Embedder | None = None
    new_words: Embedder | None = None

    def __str__(self) -> str:
        if self.embedder:
            return f"embedding every photo with {self.embedder.folder}"
        return "mixing the titles anew, without reading photos" if self.new_words else "copying embeddings"

    def convert(self, vectors: Embeddings, titles: Sequence[str]) -> Embeddings:
        """Convert the live collection's vectors (n, dim) of photos with these titles to those of the build."""
        if self.old_words:
            vectors = self.old_words.remove_titles(vectors, titles)
        return self.new_words.add_titles(vectors, titles) if self.new_words else vectors


def start_build(
    photos: PhotoCollection, folder: Path, index: IndexSettings, *, own: Path
) -> tuple[CollectionInfo, BuildMethod]:
    """Create an empty build for the model in `folder`; return it, and how it gets its vectors.

    `own`: a folder that may hold the live collection's model. Rollback needs it, and old collections do not name it.
    Raises BuildRefused while another build is incomplete; ModelMissing, ModelBroken.
    """
    live = photos.builds.live()
    if unfinished := [info.name for info in photos.builds.all() if info.state == "building"]:
        raise BuildRefused(
            f"{unfinished[0]} is not complete.",
            hint=f"Resume it: marketlens index build --resume. Or drop it: marketlens index drop {unfinished[0]}",
        )
    card = read_card(folder)
    method = _choose_method(live, folder, own)
    if not live.model and (own / CARD).exists() and read_card(own).fingerprint == live.fingerprint:
        photos.builds.note_model(live.name, str(own.absolute()))
    dim = int(card.architecture.head.dim)
    info = photos.builds.create(card.fingerprint, dim, index, model=str(folder.absolute()), state="building")
    return info, method


def resume_build(photos: PhotoCollection, folder: Path | None, *, own: Path) -> tuple[CollectionInfo, BuildMethod]:
    """Return the newest build and how it gets its vectors; its model is in `folder` or in the build's own folder.

    `own`: as in `start_build`. Raises NotFound if there is no build, ModelMismatch if the folder holds another model;
    ModelMissing, ModelBroken.
    """
    live, info = photos.builds.live(), photos.builds.newest()
    if folder is None and info.fingerprint == live.fingerprint:
        return info, BuildMethod()
    folder = folder or Path(info.model)
    found = read_card(folder).fingerprint
    if found != info.fingerprint:
        raise ModelMismatch(
            f"The build {info.name} needs the model {info.fingerprint[:12]}, but {folder} holds {found[:12]}.",
            hint=f"Restore that model, or start over: marketlens index drop {info.name}",
        )
    return info, _choose_method(live, folder, own)


def fill(
    live: PhotoCollection,
    build: PhotoCollection,
    method: BuildMethod,
    settings: IngestSettings,
    report: BuildReport,
    progress: Progress,
) -> None:
    """Bring the build to the contents of the live collection, repeatedly while that changes; then mark it ready.

    Photos that the build already holds stay, so a killed run can resume. If
    a photo's bytes have changed, its new bytes are embedded but its old record is kept, so that the next ingest sees
    the change. Raises BuildRefused if the live collection keeps changing.
    """
    started = time.monotonic()
    name = build.info().name
    build.builds.reopen(name)
    build.notes.begin_changes()
    filler = _Filler(live, build, method, settings, report)
    try:
        for number in range(MAX_PASSES):
            # Before the comparison, so that it is never later than the contents of the build.
            changed_at = live.notes.changed_at()
            ids = find_suspects(live, build)
            with progress("Catching up" if number else "Building", len(ids)) as advance:
                if not filler.transfer(ids, advance):
                    break
        else:
            raise BuildRefused(
                f"The live collection keeps changing: {name} could not catch up.",
                hint="Resume when no ingest is running: marketlens index build --resume",
            )
        build.writer.flush()
        build.notes.end_changes(changed_at)
        build.builds.finish(name)
        report.finished = True
    finally:
        report.seconds = time.monotonic() - started


class _Filler:
    def __init__(
        self,
        live: PhotoCollection,
        build: PhotoCollection,
        method: BuildMethod,
        settings: IngestSettings,
        report: BuildReport,
    ) -> None:
        self._build = build
        self._live = live
        self._method = method
        self._embedder = embedder = method.embedder
        self._settings = settings
        if embedder:
            limits = (settings.max_photo_bytes, StageTimer(), settings.network_seconds)
            self._reader = PhotoReader(embedder.preprocess, *limits)
        self._report = report
        self._rejected: dict[str, StoredPhoto] = {}

    def transfer(self, ids: list[str], advance: Advance) -> int:
        """Bring these photos of the build up to date; return how many differed. A rejected one counts once."""
        found = 0
        with ThreadPoolExecutor(READERS, "read") as pool:
            for pending in self._read_ahead(ids, pool):
                embedded = self._embed([(stored, future.result()) for stored, future in pending.reads], advance)
                self._copy(pending.to_copy, pending.batch.in_build)
                self._build.writer.remove(pending.batch.removed)
                self._report.removed += len(pending.batch.removed)
                advance(len(pending.batch.ids) - embedded)
                found += len(pending.reads) + len(pending.to_copy) + len(pending.batch.removed)
        return found

    def _read_ahead(self, ids: list[str], pool: ThreadPoolExecutor) -> Iterator[PendingBatch]:
        """Yield each batch after the reads of the next one have started."""
        pending = None
        for batch in look_up_batches(self._live, self._build, ids, self._settings.batch_size):
            upcoming = self._start_reads(batch, pool)
            if pending:
                yield pending
            pending = upcoming
        if pending:
            yield pending

    def _start_reads(self, batch: Batch, pool: ThreadPoolExecutor) -> PendingBatch:
        to_copy, reads = [], []
        for stored in batch.changed:
            photo_id = stored.photo.photo_id
            in_build = batch.in_build.get(photo_id)
            if self._rejected.get(photo_id) == stored:
                continue
            if self._embedder is None or (in_build and in_build.sha256 == stored.sha256):
                to_copy.append(stored)
            else:
                reads.append((stored, pool.submit(self._reader.read, stored.photo, None)))
        return PendingBatch(batch, to_copy, reads)

    def _copy(self, photos: list[StoredPhoto], in_build: Mapping[str, StoredPhoto]) -> None:
        ids = [stored.photo.photo_id for stored in photos]
        titles = [stored.photo.listing.title for stored in photos]
        try:
            if self._embedder:
                # The build itself has embeddings of these bytes: only the metadata has changed.
                before = [in_build[photo_id].photo.listing.title for photo_id in ids]
                vectors = self._embedder.replace_titles(self._build.reader.embeddings(ids), before, titles)
            else:
                vectors = self._method.convert(self._live.reader.embeddings(ids), titles)
        except NotFound:
            return  # removed a moment ago: the next pass compares again
        self._write(photos, vectors)
        self._report.copied += len(photos)

    def _embed(self, read: list[tuple[StoredPhoto, ReadPhoto | Rejected]], advance: Advance) -> int:
        """Embed and write; return how many photos were reported to `advance`."""
        photos, parts = [], []
        for step in chunked(((stored, result) for stored, result in read if isinstance(result, ReadPhoto)), BATCH):
            assert self._embedder  # noqa: S101 - without one, nothing is read
            embeddings = self._embedder.embed_pixels(pixels_of([result for _, result in step]))
            titles = [stored.photo.listing.title for stored, _ in step]
            parts.append(self._embedder.add_titles(embeddings, titles))
            photos += [stored for stored, _ in step]
            advance(len(step))
        if photos:
            self._write(photos, np.concatenate(parts))
            self._report.embedded += len(photos)
        for stored, result in read:
            if isinstance(result, Rejected):
                self._rejected[result.photo_id] = stored
                self._report.rejected[result.photo_id] = result
        return len(photos)

    def _write(self, photos: list[StoredPhoto], embeddings: Embeddings) -> None:
        if photos:
            self._build.writer.upsert(photos, embeddings)
        for stored in photos:
            self._report.rejected.pop(stored.photo.photo_id, None)


def _choose_method(live: CollectionInfo, folder: Path, own: Path) -> BuildMethod:
    if read_card(folder).fingerprint == live.fingerprint:
        return BuildMethod()
    photos = photo_fingerprint(folder)
    if photos == live.fingerprint:
        return BuildMethod(new_words=Embedder.load(folder))
    for old in (Path(live.model or own), own):
        if (
            (old / CARD).exists()
            and read_card(old).fingerprint == live.fingerprint
            and photo_fingerprint(old) == photos
        ):
            return BuildMethod(old_words=Embedder.load(old), new_words=Embedder.load(folder))
    return BuildMethod(embedder=Embedder.load(folder))

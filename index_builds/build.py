"""Fill a build beside the live collection: copy embeddings, or embed every photo anew with another model."""

import time
from collections.abc import Iterator
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
from embedding.embedder import BATCH, Embedder
from index_builds.build_report import BuildReport
from index_builds.difference import Batch, differing, suspects
from ingest.stages.photo_reader import READERS, PhotoReader, ReadPhoto, pixels_of

MAX_PASSES = 10


@dataclass(frozen=True, slots=True)
class Begun:
    """A batch whose photos are being read."""

    batch: Batch
    kept: list[StoredPhoto]
    being_read: list[tuple[StoredPhoto, Future[ReadPhoto | Rejected]]]


def begin(
    photos: PhotoCollection, folder: Path, index: IndexSettings, *, own: Path
) -> tuple[CollectionInfo, Embedder | None]:
    """Make an empty build for the model in `folder`; returns its embedder unless it made the live collection too.

    `own` is where the live collection's model may lie: rolling back needs to know, and old collections do not say.
    Raises BuildRefused while another build is not complete; ModelMissing, ModelBroken.
    """
    live = photos.builds.live()
    if unfinished := [info.name for info in photos.builds.all() if info.state == "building"]:
        raise BuildRefused(
            f"{unfinished[0]} is not complete.",
            hint=f"Go on with it: marketlens index build --resume. Or: marketlens index drop {unfinished[0]}",
        )
    card = read_card(folder)
    embedder = None if card.fingerprint == live.fingerprint else Embedder.load(folder)
    if not live.model and (own / CARD).exists() and read_card(own).fingerprint == live.fingerprint:
        photos.builds.note_model(live.name, str(own.absolute()))
    dim = int(card.architecture.head.dim)
    info = photos.builds.create(card.fingerprint, dim, index, model=str(folder.absolute()), state="building")
    return info, embedder


def go_on(photos: PhotoCollection, folder: Path | None) -> tuple[CollectionInfo, Embedder | None]:
    """The newest build again, with the embedder it needs, if any, from `folder` or from where it began.

    Raises NotFound when there is none, ModelMismatch when the model is another one by now; ModelMissing, ModelBroken.
    """
    live, info = photos.builds.live(), photos.builds.newest()
    if folder is None and info.fingerprint == live.fingerprint:
        return info, None
    folder = folder or Path(info.model)
    found = read_card(folder).fingerprint
    if found != info.fingerprint:
        raise ModelMismatch(
            f"The build {info.name} was begun with the model {info.fingerprint[:12]}, but {folder} holds {found[:12]}.",
            hint=f"Put that model back, or begin anew: marketlens index drop {info.name}",
        )
    return info, None if info.fingerprint == live.fingerprint else Embedder.load(folder)


def fill(
    live: PhotoCollection,
    build: PhotoCollection,
    embedder: Embedder | None,
    settings: IngestSettings,
    report: BuildReport,
    progress: Progress,
) -> None:
    """Bring the build to what the live collection holds, again while that changes; then call it ready.

    Without an embedder, embeddings are copied. What the build holds already stays, so that a killed run goes on where
    it was. A photo whose bytes are others by now is embedded as it is and recorded as it was: the next ingest sees the
    change. Raises BuildRefused when the live collection keeps changing.
    """
    started = time.monotonic()
    name = build.info().name
    build.builds.reopen(name)
    build.notes.begin_changes()
    filler = _Filler(live, build, embedder, settings, report)
    try:
        for number in range(MAX_PASSES):
            changed_at = (
                live.notes.changed_at()
            )  # before the look at what there is: never later than what the build holds
            ids = suspects(live, build)
            with progress("Catching up" if number else "Building", len(ids)) as advance:
                if not filler.bring_over(ids, advance):
                    break
        else:
            raise BuildRefused(
                f"The live collection keeps changing: {name} could not catch up.",
                hint="Go on when no ingest is running: marketlens index build --resume",
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
        embedder: Embedder | None,
        settings: IngestSettings,
        report: BuildReport,
    ) -> None:
        self._build = build
        self._live = live
        self._embedder = embedder
        self._settings = settings
        if embedder:
            limits = (settings.max_photo_bytes, StageTimer(), settings.network_seconds)
            self._reader = PhotoReader(embedder.preprocess, *limits)
        self._report = report
        self._refused: dict[str, StoredPhoto] = {}

    def bring_over(self, ids: list[str], advance: Advance) -> int:
        """Bring over what differs of these photos; returns how many did. A rejected one counts once."""
        found = 0
        with ThreadPoolExecutor(READERS, "read") as pool:
            for begun in self._one_ahead(ids, pool):
                embedded = self._embed([(stored, future.result()) for stored, future in begun.being_read], advance)
                self._copy(begun.kept)
                self._build.writer.remove(begun.batch.gone)
                self._report.removed += len(begun.batch.gone)
                advance(len(begun.batch.ids) - embedded)
                found += len(begun.being_read) + len(begun.kept) + len(begun.batch.gone)
        return found

    def _one_ahead(self, ids: list[str], pool: ThreadPoolExecutor) -> Iterator[Begun]:
        """Hand out a batch when the next one's photos are being read."""
        begun = None
        for batch in differing(self._live, self._build, ids, self._settings.batch_size):
            upcoming = self._begin(batch, pool)
            if begun:
                yield begun
            begun = upcoming
        if begun:
            yield begun

    def _begin(self, batch: Batch, pool: ThreadPoolExecutor) -> Begun:
        kept, being_read = [], []
        for stored in batch.wanted:
            photo_id = stored.photo.photo_id
            known = batch.known.get(photo_id)
            if self._refused.get(photo_id) == stored:
                continue
            if self._embedder is None or (known and known.sha256 == stored.sha256):
                kept.append(stored)
            else:
                being_read.append((stored, pool.submit(self._reader.read, stored.photo, None)))
        return Begun(batch, kept, being_read)

    def _copy(self, kept: list[StoredPhoto]) -> None:
        # Of another model, the build has embeddings of these bytes itself: only the words around them have changed.
        source = self._build if self._embedder else self._live
        try:
            embeddings = source.reader.embeddings([stored.photo.photo_id for stored in kept])
        except NotFound:
            return  # removed a moment ago: the next pass looks again
        self._write(kept, embeddings)
        self._report.copied += len(kept)

    def _embed(self, read: list[tuple[StoredPhoto, ReadPhoto | Rejected]], advance: Advance) -> int:
        """Embed and write; returns how many `advance` has been told of."""
        photos, parts = [], []
        for step in chunked(((stored, one) for stored, one in read if isinstance(one, ReadPhoto)), BATCH):
            assert self._embedder  # noqa: S101 - without one, nothing is read
            parts.append(self._embedder.embed_pixels(pixels_of([one for _, one in step])))
            photos += [stored for stored, _ in step]
            advance(len(step))
        if photos:
            self._write(photos, np.concatenate(parts))
            self._report.embedded += len(photos)
        for stored, refused in read:
            if isinstance(refused, Rejected):
                self._refused[refused.photo_id] = stored
                self._report.rejected[refused.photo_id] = refused
        return len(photos)

    def _write(self, photos: list[StoredPhoto], embeddings: Embeddings) -> None:
        if photos:
            self._build.writer.upsert(photos, embeddings)
        for stored in photos:
            self._report.rejected.pop(stored.photo.photo_id, None)

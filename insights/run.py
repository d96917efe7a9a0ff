"""The job: read the live collection, look at it as a whole, write what was found."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalog.collection import PhotoCollection
from catalog.hosts import Read
from catalog.memory import peak_bytes
from catalog.progress import Progress
from catalog.settings import InsightsSettings
from embedding.card import Calibration
from embedding.checkpoint import listing_hash, trained_on
from embedding.embedder import Embedder
from insights import alike, describing, duplicates, laying_out, linking, overlap, store, suggesting, tables
from insights.graph import DEPTH, OWN_DEPTH, neighbour_graph
from insights.reading import Snapshot, read_snapshot
from insights.summary import Summary, Used
from insights.words import TitleWords


@dataclass
class Stages:
    """How long each stage took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a stage."""
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 2)


def run(
    photos: PhotoCollection,
    embedder: Embedder,
    settings: InsightsSettings,
    *,
    read: Read,
    progress: Progress,
) -> tuple[Summary, Path]:
    """Look at the live collection; returns what was found, and where it was written.

    Raises CollectionMissing, ModelMismatch, OutputFailed, ModelBroken.
    """
    info = photos.require(embedder.fingerprint)
    build = photos.at(info)
    changed_at = build.changed_at()
    stages = Stages()
    with stages("reading"):
        seen = read_snapshot(build, progress)
    with stages("neighbours"):
        graph = neighbour_graph(seen.embeddings, seen.category, seen.listing, progress)
    with stages("map"):
        on_map, places, clusters = _map(seen, settings.map_photos)
    with stages("categories"):
        predicted = suggesting.predict(seen.embeddings, embedder.classify)
        suspects = suggesting.suggestions(
            seen.embeddings,
            seen.category,
            seen.listing,
            graph,
            seen.categories,
            embedder.classify,
            embedder.card.categories,
        )
    with stages("duplicates"):
        links, unreadable = linking.find_links(seen, graph, embedder.card.calibration, read, progress)
        groups, too_large = duplicates.groups(links, seen.listing)
    with stages("words"):
        words = TitleWords(seen.photos["title"].take(pa.array(seen.first_rows())).to_pylist())
        categories = describing.categories(seen, words, on_map, places)
        described = [describing.cluster(seen, words, on_map, places, rows) for rows in clusters]
    with stages("overlap"):
        shares = overlap.overlap(graph, seen.category, len(seen.categories))
        distances = overlap.distances(seen.embeddings, seen.category, len(seen.categories))
    learned = _learned(seen, embedder.folder)
    table = tables.photos_table(seen, graph, predicted, embedder.card.categories, learned, on_map, places)
    now = datetime.now(UTC)
    summary = Summary(
        files=now.strftime("%Y%m%dT%H%M%S%fZ"),
        collection=info.name,
        model_fingerprint=info.fingerprint,
        made_at=now,
        changed_at=changed_at,
        photos=len(table),
        listings=len(seen.first_rows()),
        mapped_photos=len(on_map),
        categories=categories,
        clusters=described,
        overlap=shares.round(4).tolist(),
        distances=distances.round(4).tolist(),
        predicted_categories=embedder.card.categories if predicted else [],
        confusion=describing.confusion(seen, predicted, len(embedder.card.categories)),
        trained_on=int(learned.sum()),
        suggestions=len(suspects),
        duplicates={kind: sum(group.kind == kind for group in groups) for kind in duplicates.KINDS},
        too_large_groups=too_large,
        unreadable_photos=unreadable,
        used=_used(settings, embedder.card.calibration),
        seconds=stages.seconds,
        peak_bytes=peak_bytes(),
    )
    return summary, store.save(
        settings.folder,
        summary,
        table,
        tables.suggestions_table(seen, suspects),
        tables.groups_table(seen, groups, embedder.card.calibration),
    )


def _map(seen: Snapshot, limit: int) -> tuple[NDArray[np.int64], laying_out.Places, list[NDArray[np.int64]]]:
    on_map = laying_out.even_sample(len(seen.listing), limit)
    whole = len(on_map) == len(seen.listing)
    places = laying_out.lay_out(seen.embeddings if whole else seen.embeddings[on_map])
    return on_map, places, laying_out.dense_places(places)


def _learned(seen: Snapshot, folder: Path | None) -> NDArray[np.bool_]:
    known = trained_on(folder) if folder else frozenset[str]()
    firsts = seen.first_rows()
    ids = seen.photos["listing_id"].take(pa.array(firsts)).to_pylist()
    learned = np.array([listing_hash(one) in known for one in ids], bool)
    return np.repeat(learned, np.diff(firsts, append=len(seen.listing)))


def _used(settings: InsightsSettings, curve: Calibration | None) -> Used:
    return Used(
        neighbours=DEPTH,
        outlier_neighbours=OWN_DEPTH,
        map_photos=settings.map_photos,
        min_certainty=suggesting.MIN_CERTAINTY,
        same_photo_likeness=alike.SAME_PHOTO,
        same_photo_cosine=linking.SAME_PHOTO_COSINE,
        same_item_cosine=linking.same_item_cosine(curve) if curve else None,
        same_item_probability=linking.SAME_ITEM_PROBABILITY,
    )

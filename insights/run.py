"""The job: read the live collection, look at it as a whole, write what was found."""

import resource
import sys
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
from catalog.progress import Progress
from catalog.settings import InsightsSettings
from embedding.card import Calibration
from embedding.checkpoint import listing_hash, trained_on
from embedding.embedder import Embedder
from insights import alike, duplicates, laying_out, linking, overlap, store, suggesting, tables
from insights.graph import DEPTH, OWN_DEPTH, neighbour_graph
from insights.reading import Snapshot, read_snapshot
from insights.summary import CategorySummary, Cluster, Summary, Used
from insights.words import TitleWords

_WORDS = 5


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
    max_photo_bytes: int,
    progress: Progress,
) -> tuple[Summary, Path]:
    """Look at the live collection; returns what was found, and where it was written.

    Raises CollectionMissing, ModelMismatch, OutputFailed, ModelBroken.
    """
    info = photos.require(embedder.fingerprint)
    changed_at = photos.changed_at()
    stages = Stages()
    with stages("reading"):
        seen = read_snapshot(photos.at(info), progress)
    with stages("neighbours"), progress("Comparing", len(seen.listing)) as advance:
        graph = neighbour_graph(seen.embeddings, seen.category, seen.listing, advance)
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
        links, unreadable = linking.find_links(seen, graph, embedder.card.calibration, max_photo_bytes, progress)
        groups, too_large = duplicates.groups(links, seen.listing)
    with stages("words"):
        words = TitleWords(seen.photos["title"].take(pa.array(seen.first_rows())).to_pylist())
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
        categories=_categories(seen, words, on_map, places),
        clusters=[_cluster(seen, words, on_map, places, rows) for rows in clusters],
        overlap=overlap.overlap(graph, seen.category, len(seen.categories)).round(4).tolist(),
        distances=overlap.distances(seen.embeddings, seen.category, len(seen.categories)).round(4).tolist(),
        predicted_categories=embedder.card.categories if predicted else [],
        confusion=_confusion(seen, predicted, len(embedder.card.categories)),
        trained_on=int(learned.sum()),
        suggestions=len(suspects),
        duplicates={kind: sum(group.kind == kind for group in groups) for kind in duplicates.KINDS},
        too_large_groups=too_large,
        unreadable_photos=unreadable,
        used=_used(settings, embedder.card.calibration),
        seconds=stages.seconds,
        peak_bytes=_peak_bytes(),
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


def _categories(
    seen: Snapshot, words: TitleWords, on_map: NDArray[np.int64], places: laying_out.Places
) -> list[CategorySummary]:
    firsts = seen.first_rows()
    found = []
    for number, name in enumerate(seen.categories):
        listings = np.flatnonzero(seen.category[firsts] == number)
        mapped = places[seen.category[on_map] == number]
        x, y = laying_out.densest(mapped) if len(mapped) else (0.0, 0.0)
        found.append(
            CategorySummary(
                category=name,
                listings=len(listings),
                photos=int((seen.category == number).sum()),
                words=words.of(listings, _WORDS),
                x=x,
                y=y,
            )
        )
    return found


def _cluster(
    seen: Snapshot,
    words: TitleWords,
    on_map: NDArray[np.int64],
    places: laying_out.Places,
    rows: NDArray[np.int64],
) -> Cluster:
    firsts = seen.first_rows()
    listings = np.unique(np.searchsorted(firsts, on_map[rows], side="right") - 1)
    x, y = np.median(places[rows], axis=0).tolist()
    most = int(np.bincount(seen.category[on_map[rows]]).argmax())
    return Cluster(x=x, y=y, photos=len(rows), category=seen.categories[most], words=words.of(listings, _WORDS))


def _confusion(seen: Snapshot, predicted: tables.Predicted | None, count: int) -> list[list[int]]:
    if predicted is None:
        return [[] for _ in seen.categories]
    cells = np.bincount(seen.category.astype(np.int64) * count + predicted[0], minlength=len(seen.categories) * count)
    table: list[list[int]] = cells.reshape(-1, count).tolist()
    return table


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


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

"""The insights job: read the live collection, analyse it as a whole, write the results."""

import re
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalog.memory import peak_bytes
from catalog.photo_files.hosts import Read
from catalog.progress import Progress
from catalog.settings import InsightsSettings
from catalog.stage_timer import StageTimer
from catalog.store.collection import PhotoCollection
from embedding.card import Calibration
from embedding.checkpoint import listing_hash, trained_listing_hashes
from embedding.embedder import Embedder
from insights import category_overlap, descriptions, map_layout, result_files, result_tables, suggestions
from insights.duplicates import edited_photos, links
from insights.duplicates.groups import KINDS, group_listings
from insights.duplicates.same_item import LEAST_COSINE
from insights.neighbours.graph import DEPTH, OWN_DEPTH, neighbour_graph
from insights.snapshot import Snapshot, read_snapshot
from insights.summary import RunParameters, Summary
from insights.title_words import TitleWords

# "The rest" in the languages of the largest marketplaces of Europe and America, at the start of a category's name.
_REST = re.compile(
    r"(other|others|misc|miscellaneous|various|everything else|sonstige\w*|verschiedenes|weitere|autres?|divers|"
    r"otros?|otras?|varios|altro|altri|varie|outros?|outras?|diversos|overige?|diversen|övrigt|diverse|inne|pozostałe)\b",
    re.IGNORECASE,
)


def run(
    photos: PhotoCollection,
    embedder: Embedder,
    settings: InsightsSettings,
    *,
    decided: suggestions.Decided = MappingProxyType({}),
    read: Read,
    progress: Progress,
) -> tuple[Summary, Path]:
    """Analyse the live collection; return the summary, and the path that it was written to.

    `decided` are staff's decisions on earlier suggestions.

    Raises CollectionMissing, ModelMismatch, OutputFailed, ModelBroken.
    """
    info = photos.require(embedder.fingerprint)
    build = photos.at(info)
    changed_at = build.notes.changed_at()
    stages = StageTimer()
    with stages.time("reading"):
        snapshot = read_snapshot(build, embedder.remove_titles, progress)
    with stages.time("neighbours"):
        graph = neighbour_graph(snapshot.embeddings, snapshot.category, snapshot.listing, progress)
    with stages.time("map"):
        on_map, places, clusters = _map(snapshot, settings.map_photos)
    with stages.time("categories"):
        in_training = _in_training(snapshot, embedder.folder)
        predicted = suggestions.predict(embedder, snapshot)
        suggested = suggestions.suggestions(
            snapshot, graph, embedder, in_training, _catch_all(snapshot, settings), decided, progress
        )
    with stages.time("duplicates"):
        photo_links, unreadable = links.find_links(
            snapshot, graph, read, progress, compare_items=embedder.card.calibration is not None
        )
        groups, too_large = group_listings(photo_links, snapshot.listing)
    with stages.time("words"):
        words = TitleWords(snapshot.photos["title"].take(pa.array(snapshot.first_rows())).to_pylist())
        categories = descriptions.categories(snapshot, words, on_map, places)
        cluster_summaries = [descriptions.cluster(snapshot, words, on_map, places, rows) for rows in clusters]
    with stages.time("overlap"):
        shares = category_overlap.overlap(graph, snapshot.category, len(snapshot.categories))
        distances = category_overlap.distances(snapshot.embeddings, snapshot.category, len(snapshot.categories))
    table = result_tables.photos_table(
        snapshot, graph, predicted, embedder.card.categories, in_training, on_map, places
    )
    now = datetime.now(UTC)
    summary = Summary(
        files=now.strftime("%Y%m%dT%H%M%S%fZ"),
        collection=info.name,
        model_fingerprint=info.fingerprint,
        made_at=now,
        changed_at=changed_at,
        photos=len(table),
        listings=len(snapshot.first_rows()),
        mapped_photos=len(on_map),
        categories=categories,
        clusters=cluster_summaries,
        overlap=shares.round(4).tolist(),
        distances=distances.round(4).tolist(),
        predicted_categories=embedder.card.categories if predicted else [],
        confusion=descriptions.confusion(snapshot, predicted, len(embedder.card.categories)),
        trained_on=int(in_training.sum()),
        suggestions=len(suggested),
        duplicates={kind: sum(group.kind == kind for group in groups) for kind in KINDS},
        too_large_groups=too_large,
        unreadable_photos=unreadable,
        used=_run_parameters(settings, embedder.card.calibration),
        seconds={name: round(seconds, 2) for name, seconds in stages.seconds.items()},
        peak_bytes=peak_bytes(),
    )
    return summary, result_files.save(
        settings.folder,
        summary,
        table,
        result_tables.suggestions_table(snapshot, suggested),
        result_tables.groups_table(snapshot, groups),
    )


def _map(snapshot: Snapshot, limit: int) -> tuple[NDArray[np.int64], map_layout.Places, list[NDArray[np.int64]]]:
    on_map = map_layout.even_sample(len(snapshot.listing), limit)
    is_whole = len(on_map) == len(snapshot.listing)
    places = map_layout.lay_out(snapshot.embeddings if is_whole else snapshot.embeddings[on_map])
    return on_map, places, map_layout.find_clusters(places)


def _in_training(snapshot: Snapshot, folder: Path | None) -> NDArray[np.bool_]:
    """Return for each photo whether the model was trained on its listing."""
    hashes = trained_listing_hashes(folder) if folder else frozenset[str]()
    firsts = snapshot.first_rows()
    ids = snapshot.photos["listing_id"].take(pa.array(firsts)).to_pylist()
    in_training = np.array([listing_hash(listing_id) in hashes for listing_id in ids], bool)
    return np.repeat(in_training, np.diff(firsts, append=len(snapshot.listing)))


def _catch_all(snapshot: Snapshot, settings: InsightsSettings) -> list[str]:
    if settings.catch_all is not None:
        return settings.catch_all
    return [name for name in snapshot.categories if _REST.match(name)]


def _run_parameters(settings: InsightsSettings, curve: Calibration | None) -> RunParameters:
    return RunParameters(
        neighbours=DEPTH,
        outlier_neighbours=OWN_DEPTH,
        map_photos=settings.map_photos,
        min_certainty=suggestions.MIN_CERTAINTY,
        same_photo_likeness=edited_photos.SAME_PHOTO,
        same_photo_cosine=links.SAME_PHOTO_COSINE,
        same_item_cosine=LEAST_COSINE if curve else None,
        same_item_probability=links.SAME_ITEM_PROBABILITY,
    )

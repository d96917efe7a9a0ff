"""The job: read the live collection, look at it as a whole, write what was found."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
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
from insights import alike, duplicates, laying_out, overlap, store, suggesting
from insights.graph import DEPTH, OWN_DEPTH, Graph, neighbour_graph
from insights.reading import Snapshot, read_snapshot
from insights.summary import CategorySummary, Cluster, Summary, Used
from insights.words import TitleWords

SAME_ITEM_PROBABILITY = 0.8
SAME_PHOTO_COSINE = 0.8
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
        suspects = _suggestions(seen, graph, embedder)
    with stages("duplicates"):
        groups, too_large, unreadable = _duplicates(seen, graph, embedder.card.calibration, max_photo_bytes, progress)
    with stages("words"):
        words = TitleWords(seen.photos["title"].take(pa.array(seen.first_rows())).to_pylist())
    learned = _learned(seen, embedder.folder)
    table = _photos_table(seen, graph, predicted, embedder.card.categories, learned, on_map, places)
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
        duplicates={kind: sum(group["kind"] == kind for group in groups.to_pylist()) for kind in duplicates.KINDS},
        too_large_groups=too_large,
        unreadable_photos=unreadable,
        used=_used(settings, embedder.card.calibration),
        seconds=stages.seconds,
        peak_bytes=_peak_bytes(),
    )
    return summary, store.save(settings.folder, summary, table, suspects, groups)


def _map(seen: Snapshot, limit: int) -> tuple[NDArray[np.int64], laying_out.Places, list[NDArray[np.int64]]]:
    on_map = laying_out.even_sample(len(seen.listing), limit)
    whole = len(on_map) == len(seen.listing)
    places = laying_out.lay_out(seen.embeddings if whole else seen.embeddings[on_map])
    return on_map, places, laying_out.dense_places(places)


def _suggestions(seen: Snapshot, graph: Graph, embedder: Embedder) -> pa.Table:
    found = suggesting.suggestions(
        seen.embeddings,
        seen.category,
        seen.listing,
        graph,
        seen.categories,
        embedder.classify,
        embedder.card.categories,
    )
    names, listings = _Names(seen.photos["photo_id"]), _Names(seen.photos["listing_id"])
    rows = [
        {
            "rank": rank,
            "listing_id": listings[one.listing_row],
            "photo_id": names[one.photo_row],
            "category": seen.categories[one.category],
            "suggested_category": seen.categories[one.suggested],
            "certainty": one.certainty,
            "head_probability": one.head_probability,
            "seller_probability": one.seller_probability,
            "neighbour_share": one.neighbour_share,
            "neighbours": [
                {"photo_id": names[row], "similarity": float(cosine)}
                for row, cosine in zip(one.neighbours.tolist(), one.similarities, strict=True)
            ],
        }
        for rank, one in enumerate(found, 1)
    ]
    return pa.Table.from_pylist(rows, store.SUGGESTION_SCHEMA)


class _Names:
    """Ids by row, as texts."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column.combine_chunks()

    def __getitem__(self, row: int) -> str:
        return str(self._column[row].as_py())


def _duplicates(
    seen: Snapshot, graph: Graph, curve: Calibration | None, max_bytes: int, progress: Progress
) -> tuple[pa.Table, int, int]:
    """The groups, how many were too large, how many photos could not be read."""
    hashes = seen.photos["sha256"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    links = list(duplicates.same_bytes(hashes, seen.listing, seen.embeddings))
    same_item = curve.cosine(SAME_ITEM_PROBABILITY) if curve else np.inf
    pairs, cosines = duplicates.near_pairs(graph, seen.listing, min(SAME_PHOTO_COSINE, same_item))
    pairs, cosines = (
        pairs[hashes[pairs[:, 0]] != hashes[pairs[:, 1]]],
        cosines[hashes[pairs[:, 0]] != hashes[pairs[:, 1]]],
    )
    compared = np.unique(pairs[cosines >= SAME_PHOTO_COSINE])
    uris = seen.photos["uri"].take(pa.array(compared)).to_pylist()
    with progress("Comparing pixels", len(uris)) as advance:
        views = dict(zip(compared.tolist(), alike.read_views(uris, max_bytes, advance), strict=True))
    for (a, b), cosine in zip(pairs.tolist(), cosines.tolist(), strict=True):
        one, other = views.get(a), views.get(b)
        if one is not None and other is not None and alike.likeness(one, other) >= alike.SAME_PHOTO:
            links.append(duplicates.Link(a, b, cosine, "same_photo"))
        elif cosine >= same_item:
            links.append(duplicates.Link(a, b, cosine, "same_item"))
    groups, too_large = duplicates.groups(links, seen.listing)
    return _groups_table(seen, groups, curve), too_large, sum(one is None for one in views.values())


def _groups_table(seen: Snapshot, groups: list[duplicates.Group], curve: Calibration | None) -> pa.Table:
    names, listings = _Names(seen.photos["photo_id"]), _Names(seen.photos["listing_id"])
    rows = []
    for group in groups:
        weakest = duplicates.weakest(group, seen.listing)
        probability = None
        if curve is not None and weakest is not None:
            probability = float(curve.probability(np.array([weakest], np.float32))[0])
        photo_rows = sorted({row for link in group.links for row in (link.a, link.b)})
        rows.append(
            {
                "kind": group.kind,
                "probability": probability,
                "links": [
                    {
                        "photo_id_a": names[link.a],
                        "photo_id_b": names[link.b],
                        "similarity": link.similarity,
                        "kind": link.kind,
                    }
                    for link in sorted(group.links, key=attrgetter("a", "b"))
                ],
                "listing_ids": sorted({listings[row] for row in photo_rows}),
                "photo_ids": [names[row] for row in photo_rows],
            }
        )
    rows.sort(
        key=lambda row: (
            duplicates.KINDS.index(row["kind"]),
            -(1.0 if row["probability"] is None else row["probability"]),
            -len(row["listing_ids"]),
            row["listing_ids"],
        )
    )
    for rank, row in enumerate(rows, 1):
        row["rank"] = rank
    return pa.Table.from_pylist(rows, store.DUPLICATE_SCHEMA)


def _learned(seen: Snapshot, folder: Path | None) -> NDArray[np.bool_]:
    known = trained_on(folder) if folder else frozenset[str]()
    firsts = seen.first_rows()
    ids = seen.photos["listing_id"].take(pa.array(firsts)).to_pylist()
    learned = np.array([listing_hash(one) in known for one in ids], bool)
    return np.repeat(learned, np.diff(firsts, append=len(seen.listing)))


def _photos_table(
    seen: Snapshot,
    graph: Graph,
    predicted: tuple[NDArray[np.int32], NDArray[np.float32]] | None,
    head_categories: list[str],
    learned: NDArray[np.bool_],
    on_map: NDArray[np.int64],
    places: laying_out.Places,
) -> pa.Table:
    count = len(seen.listing)
    if predicted:
        names = pa.DictionaryArray.from_arrays(pa.array(predicted[0]), pa.array(head_categories)).cast(pa.string())
        confidence = pa.array(predicted[1])
    else:
        names, confidence = pa.nulls(count, pa.string()), pa.nulls(count, pa.float32())
    spread = np.full((count, 2), np.nan, np.float32)
    spread[on_map] = places
    ranks = overlap.ranks_within(graph.own, seen.category)
    columns = {
        "predicted_category": names,
        "confidence": confidence,
        "outlier_score": pa.array(graph.own, from_pandas=True),
        "outlier_rank": pa.array(ranks, mask=np.isnan(graph.own)),
        "trained_on": pa.array(learned),
        "x": pa.array(spread[:, 0], from_pandas=True),
        "y": pa.array(spread[:, 1], from_pandas=True),
    }
    return pa.table(
        [columns[name] if name in columns else seen.photos[name] for name in store.PHOTO_SCHEMA.names],
        schema=store.PHOTO_SCHEMA,
    )


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


def _confusion(
    seen: Snapshot, predicted: tuple[NDArray[np.int32], NDArray[np.float32]] | None, count: int
) -> list[list[int]]:
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
        same_photo_cosine=SAME_PHOTO_COSINE,
        same_item_cosine=curve.cosine(SAME_ITEM_PROBABILITY) if curve else None,
        same_item_probability=SAME_ITEM_PROBABILITY,
    )


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

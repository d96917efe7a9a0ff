"""Conversion of results, which use row numbers, to the tables of `insights.result_files`, which use ids and names."""

from dataclasses import asdict
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from insights import category_overlap
from insights.duplicates.groups import KINDS, Group, weakest
from insights.map_layout import Places
from insights.neighbours.graph import Graph
from insights.result_files import DUPLICATE_SCHEMA, PHOTO_SCHEMA, SUGGESTION_SCHEMA
from insights.snapshot import Snapshot
from insights.suggestions import Suggestion

Predicted = tuple[NDArray[np.int32], NDArray[np.float32]]
"""The index of the model's category and its probability, for each photo."""


def photos_table(
    snapshot: Snapshot,
    graph: Graph,
    predicted: Predicted | None,
    head_categories: list[str],
    in_training: NDArray[np.bool_],
    on_map: NDArray[np.int64],
    places: Places,
) -> pa.Table:
    """Return a row for each photo. `places` (m, 2) are the positions of the rows `on_map` (m,)."""
    count = len(snapshot.listing)
    names, confidence = pa.nulls(count, pa.string()), pa.nulls(count, pa.float32())
    if predicted:
        names = pa.DictionaryArray.from_arrays(pa.array(predicted[0]), pa.array(head_categories)).cast(pa.string())
        confidence = pa.array(predicted[1])
    positions = np.full((count, 2), np.nan, np.float32)
    positions[on_map] = places
    columns = {
        "predicted_category": names,
        "confidence": confidence,
        "outlier_score": pa.array(graph.own, from_pandas=True),
        "outlier_rank": pa.array(category_overlap.ranks_within(graph.own, snapshot.category), mask=np.isnan(graph.own)),
        "trained_on": pa.array(in_training),
        "x": pa.array(positions[:, 0], from_pandas=True),
        "y": pa.array(positions[:, 1], from_pandas=True),
    }
    return pa.table(
        [columns[name] if name in columns else snapshot.photos[name] for name in PHOTO_SCHEMA.names],
        schema=PHOTO_SCHEMA,
    )


def suggestions_table(snapshot: Snapshot, suggestions: list[Suggestion]) -> pa.Table:
    """Return a row for each suggestion, in the same order."""
    photo_ids, listing_ids = _column(snapshot, "photo_id"), _column(snapshot, "listing_id")
    rows = [
        {
            "rank": rank,
            "listing_id": listing_ids[suggestion.listing_row].as_py(),
            "photo_id": photo_ids[suggestion.photo_row].as_py(),
            "category": snapshot.categories[suggestion.category],
            "suggested_category": snapshot.categories[suggestion.suggested],
            "certainty": suggestion.certainty,
            "head_probability": suggestion.photo and suggestion.photo.suggested,
            "seller_probability": suggestion.photo and suggestion.photo.seller,
            "title_probability": suggestion.title and suggestion.title.suggested,
            "title_seller_probability": suggestion.title and suggestion.title.seller,
            "title_words": [asdict(word) for word in suggestion.words],
            "neighbour_share": suggestion.neighbour.suggested,
            "neighbour_seller_share": suggestion.neighbour.seller,
            "neighbours": [
                {"photo_id": photo_ids[row].as_py(), "similarity": cosine}
                for row, cosine in zip(suggestion.neighbours.tolist(), suggestion.similarities.tolist(), strict=True)
            ],
        }
        for rank, suggestion in enumerate(suggestions, 1)
    ]
    return pa.Table.from_pylist(rows, SUGGESTION_SCHEMA)


def groups_table(snapshot: Snapshot, groups: list[Group]) -> pa.Table:
    """Return a row for each group: same files, same pictures, same items; each by probability, then by size."""
    photo_ids, listing_ids = _column(snapshot, "photo_id"), _column(snapshot, "listing_id")
    rows: list[dict[str, Any]] = []
    for group in groups:
        probability = weakest(group, snapshot.listing)
        photos = sorted({row for link in group.links for row in (link.a, link.b)})
        rows.append(
            {
                "kind": group.kind,
                "probability": probability,
                "links": [
                    {
                        "photo_id_a": photo_ids[link.a].as_py(),
                        "photo_id_b": photo_ids[link.b].as_py(),
                        "similarity": link.similarity,
                        "kind": link.kind,
                    }
                    for link in sorted(group.links, key=attrgetter("a", "b"))
                ],
                "listing_ids": sorted({listing_ids[row].as_py() for row in photos}),
                "photo_ids": [photo_ids[row].as_py() for row in photos],
            }
        )
    rows.sort(key=_sort_key)
    return pa.Table.from_pylist([{"rank": rank} | row for rank, row in enumerate(rows, 1)], DUPLICATE_SCHEMA)


def _sort_key(row: dict[str, Any]) -> tuple[int, float, int, list[str]]:
    probability = 1.0 if row["probability"] is None else row["probability"]
    return KINDS.index(row["kind"]), -probability, -len(row["listing_ids"]), row["listing_ids"]


def _column(snapshot: Snapshot, column: str) -> pa.Array:
    return snapshot.photos[column].combine_chunks()

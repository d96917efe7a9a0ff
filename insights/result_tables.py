"""What was found, by row and number -> tables with ids and names, as `insights.store` keeps them."""

from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedding.card import Calibration
from insights import category_overlap
from insights.duplicates.groups import KINDS, Group, weakest
from insights.map_layout import Places
from insights.neighbours.graph import Graph
from insights.snapshot import Snapshot
from insights.store import DUPLICATE_SCHEMA, PHOTO_SCHEMA, SUGGESTION_SCHEMA
from insights.suggestions import Suggestion

Predicted = tuple[NDArray[np.int32], NDArray[np.float32]]
"""Number of the model's category and its probability, for each photo."""


def photos_table(
    seen: Snapshot,
    graph: Graph,
    predicted: Predicted | None,
    head_categories: list[str],
    learned: NDArray[np.bool_],
    on_map: NDArray[np.int64],
    places: Places,
) -> pa.Table:
    """One row per photo. `places` are those of the rows `on_map`."""
    count = len(seen.listing)
    names, confidence = pa.nulls(count, pa.string()), pa.nulls(count, pa.float32())
    if predicted:
        names = pa.DictionaryArray.from_arrays(pa.array(predicted[0]), pa.array(head_categories)).cast(pa.string())
        confidence = pa.array(predicted[1])
    spread = np.full((count, 2), np.nan, np.float32)
    spread[on_map] = places
    columns = {
        "predicted_category": names,
        "confidence": confidence,
        "outlier_score": pa.array(graph.own, from_pandas=True),
        "outlier_rank": pa.array(category_overlap.ranks_within(graph.own, seen.category), mask=np.isnan(graph.own)),
        "trained_on": pa.array(learned),
        "x": pa.array(spread[:, 0], from_pandas=True),
        "y": pa.array(spread[:, 1], from_pandas=True),
    }
    return pa.table(
        [columns[name] if name in columns else seen.photos[name] for name in PHOTO_SCHEMA.names], schema=PHOTO_SCHEMA
    )


def suggestions_table(seen: Snapshot, found: list[Suggestion]) -> pa.Table:
    """One row per suspected listing, in the order of `found`."""
    photo_ids, listing_ids = _texts(seen, "photo_id"), _texts(seen, "listing_id")
    rows = [
        {
            "rank": rank,
            "listing_id": listing_ids[one.listing_row].as_py(),
            "photo_id": photo_ids[one.photo_row].as_py(),
            "category": seen.categories[one.category],
            "suggested_category": seen.categories[one.suggested],
            "certainty": one.certainty,
            "head_probability": one.head_probability,
            "seller_probability": one.seller_probability,
            "neighbour_share": one.neighbour_share,
            "neighbours": [
                {"photo_id": photo_ids[row].as_py(), "similarity": cosine}
                for row, cosine in zip(one.neighbours.tolist(), one.similarities.tolist(), strict=True)
            ],
        }
        for rank, one in enumerate(found, 1)
    ]
    return pa.Table.from_pylist(rows, SUGGESTION_SCHEMA)


def groups_table(seen: Snapshot, groups: list[Group], curve: Calibration | None) -> pa.Table:
    """One row per group: same file, then same picture, then same item; of these the most probable, then the largest."""
    photo_ids, listing_ids = _texts(seen, "photo_id"), _texts(seen, "listing_id")
    rows: list[dict[str, Any]] = []
    for group in groups:
        last, probability = weakest(group, seen.listing), None
        if curve is not None and last is not None:
            probability = float(curve.probability(np.array([last], np.float32))[0])
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
    rows.sort(key=_order)
    return pa.Table.from_pylist([{"rank": rank} | row for rank, row in enumerate(rows, 1)], DUPLICATE_SCHEMA)


def _order(row: dict[str, Any]) -> tuple[int, float, int, list[str]]:
    probability = 1.0 if row["probability"] is None else row["probability"]
    return KINDS.index(row["kind"]), -probability, -len(row["listing_ids"]), row["listing_ids"]


def _texts(seen: Snapshot, column: str) -> pa.Array:
    return seen.photos[column].combine_chunks()

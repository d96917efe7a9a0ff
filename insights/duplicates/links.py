"""Which photos of different listings show the same, and how the same: the only part that reads photo files."""

import math

import numpy as np

from catalog.photo_files.hosts import Read
from catalog.progress import Progress
from embedding.card import Calibration
from insights.duplicates import edited_photos
from insights.duplicates.groups import Link, near_pairs, same_bytes
from insights.neighbours.graph import Graph
from insights.snapshot import Snapshot

# Both measured, see docs/insights.md.
SAME_PHOTO_COSINE = 0.75
SAME_ITEM_PROBABILITY = 0.6


def same_item_cosine(curve: Calibration | None) -> float:
    """From which cosine on photos show the same item; infinite without a calibration."""
    return curve.cosine(SAME_ITEM_PROBABILITY) if curve else math.inf


def find_links(
    seen: Snapshot, graph: Graph, curve: Calibration | None, read: Read, progress: Progress
) -> tuple[list[Link], int]:
    """Links between photos, and how many photos could not be read: those are compared by their embeddings alone."""
    hashes = seen.photos["sha256"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    links = list(same_bytes(hashes, seen.listing, seen.embeddings))
    least = same_item_cosine(curve)
    pairs, cosines = near_pairs(graph, seen.listing, min(SAME_PHOTO_COSINE, least))
    other_bytes = hashes[pairs[:, 0]] != hashes[pairs[:, 1]]
    pairs, cosines = pairs[other_bytes], cosines[other_bytes]
    rows = np.unique(pairs[cosines >= SAME_PHOTO_COSINE])
    uris = seen.photos["uri"].take(rows).to_pylist()
    with progress("Comparing pixels", len(uris)) as advance:
        small = dict(zip(rows.tolist(), edited_photos.read_small(uris, read, advance), strict=True))
    for (a, b), cosine in zip(pairs.tolist(), cosines.tolist(), strict=True):
        one, other = small.get(a), small.get(b)
        if one is not None and other is not None and edited_photos.likeness(one, other) >= edited_photos.SAME_PHOTO:
            links.append(Link(a, b, cosine, "same_photo"))
        elif cosine >= least:
            links.append(Link(a, b, cosine, "same_item"))
    return links, sum(one is None for one in small.values())

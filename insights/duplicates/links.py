"""Links between photos of different listings that show the same. The only insights module that reads photo files."""

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
    """Return the lowest cosine of photos that show the same item; infinite without a calibration."""
    return curve.cosine(SAME_ITEM_PROBABILITY) if curve else math.inf


def find_links(
    snapshot: Snapshot, graph: Graph, curve: Calibration | None, read: Read, progress: Progress
) -> tuple[list[Link], int]:
    """Return links between photos, and the number of unreadable photos, which are compared only by embeddings."""
    hashes = snapshot.photos["sha256"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    links = list(same_bytes(hashes, snapshot.listing, snapshot.embeddings))
    least = same_item_cosine(curve)
    pairs, cosines = near_pairs(graph, snapshot.listing, min(SAME_PHOTO_COSINE, least))
    have_different_bytes = hashes[pairs[:, 0]] != hashes[pairs[:, 1]]
    pairs, cosines = pairs[have_different_bytes], cosines[have_different_bytes]
    rows = np.unique(pairs[cosines >= SAME_PHOTO_COSINE])
    uris = snapshot.photos["uri"].take(rows).to_pylist()
    with progress("Comparing pixels", len(uris)) as advance:
        thumbnails = dict(zip(rows.tolist(), edited_photos.read_thumbnails(uris, read, advance), strict=True))
    for (a, b), cosine in zip(pairs.tolist(), cosines.tolist(), strict=True):
        first, second = thumbnails.get(a), thumbnails.get(b)
        if (
            first is not None
            and second is not None
            and edited_photos.pixel_correlation(first, second) >= edited_photos.SAME_PHOTO
        ):
            links.append(Link(a, b, cosine, "same_photo"))
        elif cosine >= least:
            links.append(Link(a, b, cosine, "same_item"))
    return links, sum(photo is None for photo in thumbnails.values())

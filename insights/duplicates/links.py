"""Links between photos of different listings that show the same. The only insights module that reads photo files."""

import numpy as np

from catalog.photo_files.hosts import Read
from catalog.progress import Progress
from insights.duplicates import edited_photos
from insights.duplicates.groups import Link, near_pairs, same_bytes
from insights.duplicates.same_item import LEAST_COSINE, same_item_probability
from insights.neighbours.graph import Graph
from insights.snapshot import Snapshot

# Measured, see docs/insights.md.
SAME_PHOTO_COSINE = 0.7
SAME_ITEM_PROBABILITY = 0.5
"""Nothing is listed that is not more likely than not."""


def find_links(
    snapshot: Snapshot, graph: Graph, read: Read, progress: Progress, *, compare_items: bool
) -> tuple[list[Link], int]:
    """Return links between photos, and the number of unreadable photos, which are compared only by embeddings.

    Without `compare_items`, only files and pictures are compared: the cosines of an untrained model say little.
    """
    photos = snapshot.photos
    hashes = photos["sha256"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    links = list(same_bytes(hashes, snapshot.listing, snapshot.embeddings))
    pairs, cosines = near_pairs(graph, snapshot.listing, LEAST_COSINE if compare_items else SAME_PHOTO_COSINE)
    have_different_bytes = hashes[pairs[:, 0]] != hashes[pairs[:, 1]]
    pairs, cosines = pairs[have_different_bytes], cosines[have_different_bytes]
    rows = np.unique(pairs[cosines >= SAME_PHOTO_COSINE])
    uris = photos["uri"].take(rows).to_pylist()
    with progress("Comparing pixels", len(uris)) as advance:
        thumbnails = dict(zip(rows.tolist(), edited_photos.read_thumbnails(uris, read, advance), strict=True))
    compared = np.unique(pairs)
    titles, prices = (
        dict(zip(compared.tolist(), photos[name].take(compared).to_pylist(), strict=True))
        for name in ("title", "price")
    )
    for (a, b), cosine in zip(pairs.tolist(), cosines.tolist(), strict=True):
        first, second = thumbnails.get(a), thumbnails.get(b)
        if (
            first is not None
            and second is not None
            and edited_photos.pixel_correlation(first, second) >= edited_photos.SAME_PHOTO
        ):
            links.append(Link(a, b, cosine, "same_photo"))
        elif compare_items:
            probability = same_item_probability(cosine, (titles[a], titles[b]), (prices[a], prices[b]))
            if probability >= SAME_ITEM_PROBABILITY:
                links.append(Link(a, b, cosine, "same_item", probability))
    return links, sum(photo is None for photo in thumbnails.values())

"""Train, validation and test splits, by listing and by group of near-identical photos. Pure."""

from collections.abc import Sequence
from typing import Literal

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Split = Literal["train", "val", "test"]
Hashes = NDArray[np.uint8]
"""Perceptual hashes, 64 bits each, packed: (n, 8)."""

# Measured on a real export: pairs across listings up to 8 bits apart are reposts, at 12 bits most are coincidence.
NEAR_IDENTICAL_BITS = 8
"""Largest distance at which two photos count as the same.

Pairs across listings among 4,305 real photos: 31 at 0 bits, 33 at 4, 35 at 6 and at 8 (the same photo, scaled or saved
again), then 56 at 10 and 123 at 12. Cropped and mirrored reposts are not found.
"""
VAL_SHARE, TEST_SHARE = 0.10, 0.15


def near_identical_pairs(hashes: Hashes) -> NDArray[np.int64]:
    """Find pairs of rows (m, 2) whose hashes differ in at most NEAR_IDENTICAL_BITS, the smaller row first."""
    if not len(hashes):
        return np.empty((0, 2), np.int64)
    index = faiss.IndexBinaryFlat(8 * hashes.shape[1])
    index.add(hashes)
    # faiss returns distances strictly below the radius.
    limits, _, neighbours = index.range_search(hashes, NEAR_IDENTICAL_BITS + 1)
    ends = np.asarray(limits, np.int64)
    rows = np.repeat(np.arange(len(hashes)), ends[1:] - ends[:-1])
    pairs = np.stack([rows, neighbours], axis=1)
    return pairs[pairs[:, 0] < pairs[:, 1]]


def listing_groups(listings: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the group of each listing: listings that share a near-identical photo, directly or through other listings.

    `listings` is the listing of each photo, 0 to number of listings - 1; `pairs` are rows of photos.
    """
    count = int(listings.max()) + 1 if len(listings) else 0
    links = listings[pairs]
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def assign_splits(groups: NDArray[np.int64], categories: Sequence[str], seed: int) -> list[Split]:
    """Assign each listing a split: groups stay whole, categories have the same shares, a seed gives the same result.

    A group belongs to the category of its first listing. A category with fewer than three groups is all train: holding
    some of it back would leave nothing to learn from.
    """
    random = np.random.default_rng(seed)
    members: dict[int, list[int]] = {}
    for listing, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(listing)
    by_category: dict[str, list[list[int]]] = {}
    for group_members in members.values():
        by_category.setdefault(categories[group_members[0]], []).append(group_members)

    splits: list[Split] = ["train"] * len(groups)
    for category in sorted(by_category):
        in_category = by_category[category]
        if len(in_category) < 3:
            continue
        total = sum(len(group) for group in in_category)
        targets: dict[Split, float] = {"test": TEST_SHARE * total, "val": VAL_SHARE * total}
        order = [in_category[position] for position in random.permutation(len(in_category))]
        for split, share in targets.items():
            taken = 0
            # At least one group per split, but never the last group, which stays in train.
            while len(order) > 1 and (not taken or taken + len(order[-1]) <= share):
                for listing in (group := order.pop()):
                    splits[listing] = split
                taken += len(group)
    return splits

"""Links between photos that show the same, and groups of the listings that they link. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from catalog.listing import Embeddings
from insights.neighbours.graph import Graph

DuplicateKind = Literal["same_bytes", "same_photo", "same_item"]
KINDS: tuple[DuplicateKind, ...] = ("same_bytes", "same_photo", "same_item")
MAX_LISTINGS = 200  # of a group: a picture with more listings is a placeholder


@dataclass(frozen=True, slots=True)
class Link:
    """Two photos of different listings, by row, the smaller first. Links of the same item have a probability."""

    a: int
    b: int
    similarity: float
    kind: DuplicateKind
    probability: float | None = None

    @property
    def strength(self) -> float:
        """How sure the link is, for comparisons with other links of its kind."""
        return self.similarity if self.probability is None else self.probability


@dataclass
class Group:
    """Listings by number, with the links between them."""

    listings: set[int]
    links: list[Link] = field(default_factory=list)

    @property
    def kind(self) -> DuplicateKind:
        """The kind of the strongest link."""
        return min((link.kind for link in self.links), key=KINDS.index)


def same_bytes(hashes: NDArray[np.int64], listing: NDArray[np.int32], embeddings: Embeddings) -> Iterator[Link]:
    """Yield links between photos with equal files: from each listing's first such photo to that of the next listing."""
    order = np.lexsort((np.arange(len(hashes)), hashes))
    for rows in np.split(order, np.flatnonzero(np.diff(hashes[order])) + 1):
        if len(rows) > 1:
            firsts = rows[np.sort(np.unique(listing[rows], return_index=True)[1])].tolist()
            for a, b in pairwise(firsts):
                yield Link(a, b, min(float(embeddings[a] @ embeddings[b]), 1.0), "same_bytes")


def near_pairs(graph: Graph, listing: NDArray[np.int32], least: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return pairs of neighbours (m, 2), the smaller row first, whose cosines (m,) are at least `least`, and those."""
    rows, columns = np.nonzero(graph.cosines >= least)
    others = graph.rows[rows, columns]
    pairs = np.sort(np.stack([rows, others], axis=1), axis=1)[(others >= 0) & (listing[rows] != listing[others])]
    cosines = graph.cosines[rows, columns][(others >= 0) & (listing[rows] != listing[others])]
    pairs, first = np.unique(pairs, axis=0, return_index=True)
    return pairs, cosines[first]


def group_listings(links: Iterable[Link], listing: NDArray[np.int32]) -> tuple[list[Group], int]:
    """Return groups of linked listings, and the number of groups left out because they exceed MAX_LISTINGS.

    Links of the same file or picture always join their listings. Links of the same item join two groups only if every
    listing of one is linked to every listing of the other (complete linkage), the nearest first. So listings that are
    only linked through a third one stay apart, and groups do not chain.
    """
    by_pair: dict[tuple[int, int], list[Link]] = defaultdict(list)
    for link in links:
        first, second = sorted((int(listing[link.a]), int(listing[link.b])))
        by_pair[first, second].append(link)
    members: dict[int, set[int]] = {}

    def group_of(listing_number: int) -> set[int]:
        return members.setdefault(listing_number, {listing_number})

    def join(group: set[int], other: set[int]) -> None:
        small, large = sorted((group, other), key=len)
        large |= small
        for listing_number in small:
            members[listing_number] = large

    pictures = {pair for pair, pair_links in by_pair.items() if any(link.kind != "same_item" for link in pair_links)}
    for first, second in sorted(pictures):
        if (group := group_of(first)) is not (other := group_of(second)):
            join(group, other)
    nearest = {
        pair: max(link.strength for link in pair_links) for pair, pair_links in by_pair.items() if pair not in pictures
    }
    for first, second in sorted(nearest, key=lambda pair: (-nearest[pair], pair)):
        group, other = group_of(first), group_of(second)
        if group is not other and all(tuple(sorted((a, b))) in by_pair for a in group for b in other):
            join(group, other)

    groups: dict[int, Group] = {}
    for (first, second), pair_links in by_pair.items():
        if members[first] is members[second]:
            groups.setdefault(id(members[first]), Group(members[first])).links.extend(pair_links)
    small_enough = [group for group in groups.values() if len(group.listings) <= MAX_LISTINGS]
    return small_enough, len(groups) - len(small_enough)


def weakest(group: Group, listing: NDArray[np.int32]) -> float | None:
    """Return the strength of the weakest link that the group needs; None if it only needs same files and pictures.

    The group needs the strongest links that connect all its listings (a spanning tree).
    """
    parent = {listing_number: listing_number for listing_number in group.listings}

    def root(listing_number: int) -> int:
        while parent[listing_number] != listing_number:
            listing_number = parent[listing_number]
        return listing_number

    strength: float | None = None
    for link in sorted(group.links, key=lambda link: (link.kind == "same_item", -link.strength)):
        first, second = root(int(listing[link.a])), root(int(listing[link.b]))
        if first != second:
            parent[first] = second
            if link.kind == "same_item":
                strength = link.strength
    return strength

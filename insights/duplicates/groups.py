"""Listings that show the same: links between photos, and groups of what they link. Pure."""

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
MAX_LISTINGS = 200  # of a group: what more show is a placeholder


@dataclass(frozen=True, slots=True)
class Link:
    """Two photos of different listings, by row, the smaller first."""

    a: int
    b: int
    similarity: float
    kind: DuplicateKind


@dataclass
class Group:
    """Listings by number, and the links between them."""

    listings: set[int]
    links: list[Link] = field(default_factory=list)

    @property
    def kind(self) -> DuplicateKind:
        """That of the strongest link."""
        return min((link.kind for link in self.links), key=KINDS.index)


def same_bytes(hashes: NDArray[np.int64], listing: NDArray[np.int32], embeddings: Embeddings) -> Iterator[Link]:
    """Links between photos whose files are equal: each listing's first such photo to that of the next listing."""
    order = np.lexsort((np.arange(len(hashes)), hashes))
    for rows in np.split(order, np.flatnonzero(np.diff(hashes[order])) + 1):
        if len(rows) > 1:
            firsts = rows[np.sort(np.unique(listing[rows], return_index=True)[1])].tolist()
            for a, b in pairwise(firsts):
                yield Link(a, b, min(float(embeddings[a] @ embeddings[b]), 1.0), "same_bytes")


def near_pairs(graph: Graph, listing: NDArray[np.int32], least: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Pairs of photos (m, 2), the smaller row first, that are neighbours with a cosine of at least `least`."""
    rows, columns = np.nonzero(graph.cosines >= least)
    others = graph.rows[rows, columns]
    pairs = np.sort(np.stack([rows, others], axis=1), axis=1)[(others >= 0) & (listing[rows] != listing[others])]
    cosines = graph.cosines[rows, columns][(others >= 0) & (listing[rows] != listing[others])]
    pairs, first = np.unique(pairs, axis=0, return_index=True)
    return pairs, cosines[first]


def group_listings(links: Iterable[Link], listing: NDArray[np.int32]) -> tuple[list[Group], int]:
    """Group what is linked; also, how many groups were left out because more than MAX_LISTINGS share a picture.

    Files and pictures that are the same join whatever they link. Items join only when every listing of the one group is
    linked to every listing of the other (complete linkage), the nearest first: two that are alike through a third only
    stay apart, so that groups do not chain.
    """
    by_pair: dict[tuple[int, int], list[Link]] = defaultdict(list)
    for link in links:
        first, second = sorted((int(listing[link.a]), int(listing[link.b])))
        by_pair[first, second].append(link)
    member: dict[int, set[int]] = {}

    def group_of(one: int) -> set[int]:
        return member.setdefault(one, {one})

    def join(one: set[int], other: set[int]) -> None:
        small, large = sorted((one, other), key=len)
        large |= small
        for listing_number in small:
            member[listing_number] = large

    pictures = {pair for pair, found in by_pair.items() if any(link.kind != "same_item" for link in found)}
    for first, second in sorted(pictures):
        if (one := group_of(first)) is not (other := group_of(second)):
            join(one, other)
    nearest = {pair: max(link.similarity for link in found) for pair, found in by_pair.items() if pair not in pictures}
    for first, second in sorted(nearest, key=lambda pair: (-nearest[pair], pair)):
        one, other = group_of(first), group_of(second)
        if one is not other and all(tuple(sorted((a, b))) in by_pair for a in one for b in other):
            join(one, other)

    by_group: dict[int, Group] = {}
    for (first, second), found in by_pair.items():
        if member[first] is member[second]:
            group = by_group.setdefault(id(member[first]), Group(member[first]))
            group.links += found
    whole = [group for group in by_group.values() if len(group.listings) <= MAX_LISTINGS]
    return whole, len(by_group) - len(whole)


def weakest(group: Group, listing: NDArray[np.int32]) -> float | None:
    """Cosine of the weakest link that holds the group together; None where files and pictures alone do.

    The links that hold it: the strongest ones that connect all listings (a spanning tree).
    """
    tree = {one: one for one in group.listings}

    def root(one: int) -> int:
        while tree[one] != one:
            one = tree[one]
        return one

    last: float | None = None
    for link in sorted(group.links, key=lambda link: (link.kind == "same_item", -link.similarity)):
        one, other = root(int(listing[link.a])), root(int(listing[link.b]))
        if one != other:
            tree[one] = other
            if link.kind == "same_item":
                last = link.similarity
    return last

"""Compares maximal marginal relevance with its definition."""

from dataclasses import replace

import numpy as np
import pytest

from catalog.listing import Hit, Listing, Photo, StoredPhoto
from search_api.search.diversity import diversify


def hits(count: int, seed: int = 0) -> list[Hit]:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = vectors.mean(axis=0)
    found = [
        Hit(StoredPhoto(Photo(f"p{n}", Listing(f"l{n}"), ""), "", 0), float(vector @ query), (), vector)
        for n, vector in enumerate(vectors)
    ]
    return sorted(found, key=lambda hit: -hit.score)


def by_definition(found: list[Hit], limit: int, diversity: float) -> list[str]:
    """Apply Carbonell and Goldstein's formula literally."""
    chosen: list[Hit] = [found[0]]
    while len(chosen) < min(limit, len(found)):
        rest = [hit for hit in found if all(hit is not other for other in chosen)]
        gains = [
            (1 - diversity) * hit.score - diversity * max(float(hit.embedding @ other.embedding) for other in chosen)
            for hit in rest
        ]
        chosen.append(rest[int(np.argmax(gains))])
    return [hit.photo_id for hit in chosen]


@pytest.mark.parametrize("diversity", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_as_defined(diversity: float) -> None:
    """The same hits in the same order, from no diversity to the maximum."""
    found = hits(30)
    chosen = [hit.photo_id for hit in diversify(found, 10, diversity)]
    assert chosen == by_definition(found, 10, diversity)
    if diversity == 0:
        assert chosen == [hit.photo_id for hit in found[:10]]


def test_few_or_none() -> None:
    """A page is never longer than the list of hits; no hits give an empty page."""
    assert diversify([], 5, 0.5) == []
    assert len(diversify(hits(3), 5, 0.5)) == 3


def test_what_was_removed_meanwhile_is_passed_over() -> None:
    """A hit whose embedding can no longer be read is dropped, without affecting the others."""
    found = hits(10)
    partly_removed = [replace(hit, embedding=None) if place in (0, 4) else hit for place, hit in enumerate(found)]
    remaining = [hit for place, hit in enumerate(found) if place not in (0, 4)]
    assert [hit.photo_id for hit in diversify(partly_removed, 5, 0.5)] == by_definition(remaining, 5, 0.5)
    assert diversify([replace(hit, embedding=None) for hit in found], 5, 0.5) == []

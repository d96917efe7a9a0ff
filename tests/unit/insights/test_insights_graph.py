"""Neighbours, outliers, overlap, map and words: pure functions over small catalogues."""

from contextlib import nullcontext

import numpy as np
import pytest
from numpy.typing import NDArray

from catalog.listing import Embeddings
from catalog.progress import silent
from insights import category_overlap
from insights.map_layout import even_sample, find_clusters, lay_out
from insights.neighbours.graph import OWN_DEPTH, neighbour_graph, plain_neighbours
from insights.title_words import TitleWords


def unit(vectors: NDArray[np.floating]) -> Embeddings:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def catalogue(
    count: int, categories: int, photos_each: int = 3
) -> tuple[Embeddings, NDArray[np.int32], NDArray[np.int32]]:
    """Return random photos, sorted by category; each listing has `photos_each` nearly equal ones."""
    random = np.random.default_rng(0)
    listing = np.repeat(np.arange(count // photos_each), photos_each).astype(np.int32)
    looks = random.normal(size=(count // photos_each, 24))
    embeddings = unit(looks[listing] + random.normal(0, 0.05, (len(listing), 24)))
    return embeddings, np.sort(listing % categories).astype(np.int32), listing


@pytest.mark.parametrize("depth", [3, 20])
def test_neighbours_are_exact_and_of_other_listings(depth: int) -> None:
    """The neighbours equal those of a brute-force comparison in numpy."""
    embeddings, category, listing = catalogue(600, 4)
    advanced: list[int] = []
    graph = neighbour_graph(embeddings, category, listing, lambda _, __: nullcontext(advanced.append), depth)
    cosines = embeddings @ embeddings.T
    cosines[listing[:, None] == listing] = -np.inf
    expected = np.sort(cosines, axis=1)[:, ::-1][:, :depth]
    assert np.allclose(graph.cosines, expected, atol=1e-5)
    assert not (listing[graph.rows] == listing[:, None]).any()
    assert sum(advanced) == 600


@pytest.mark.parametrize("exact", [1_100, 200])
def test_neighbours_of_many_photos_are_the_nearest(exact: int) -> None:
    """Above the exact limit, near photos are found, for categories below and above that limit.

    The cosines are correct, and neighbours are unique and of other listings.
    """
    embeddings, category, listing = catalogue(3_000, 3, photos_each=2)
    # Groups of ten similar photos from five listings: these have near neighbours.
    embeddings = unit(embeddings[np.arange(3_000) % 300] + np.random.default_rng(1).normal(0, 0.03, (3_000, 24)))
    graph = neighbour_graph(embeddings, category, listing, silent, exact=exact)
    cosines = embeddings @ embeddings.T
    cosines[listing[:, None] == listing] = -np.inf
    assert (graph.rows >= 0).all()
    assert (listing[graph.rows] != listing[:, None]).all()
    assert all(len(set(rows)) == len(rows) for rows in graph.rows.tolist())
    assert (np.diff(graph.cosines, axis=1) <= 0).all()
    assert np.allclose(np.take_along_axis(cosines, graph.rows, axis=1), graph.cosines, atol=1e-5)
    near = np.sort(cosines, axis=1)[:, ::-1][:, : graph.rows.shape[1]]
    assert (graph.cosines[near > 0.9] > near[near > 0.9] - 1e-5).mean() > 0.999
    cosines[category[:, None] != category] = -np.inf
    own = np.sort(cosines, axis=1)[:, ::-1][:, :OWN_DEPTH].mean(axis=1)
    assert np.allclose(graph.own, own, atol=1e-5 if exact > 1_000 else 0.05)


def test_many_photos_of_one_picture() -> None:
    """A picture that most of the catalogue shares is no problem: all photos still have neighbours."""
    embeddings, category, listing = catalogue(900, 1, photos_each=1)
    embeddings[:600] = embeddings[0]
    graph = neighbour_graph(embeddings, category, listing, silent, exact=100)
    assert (graph.rows[:600] < 600).all()
    assert np.allclose(graph.cosines[:600], 1, atol=1e-5)
    assert (graph.rows >= 0).all()


def test_outlier_score_uses_only_the_own_category() -> None:
    """The score is the mean cosine with other listings' nearest photos of the category; the lowest has rank 1."""
    embeddings, category, listing = catalogue(300, 3)
    graph = neighbour_graph(embeddings, category, listing, silent)
    cosines = embeddings @ embeddings.T
    cosines[(listing[:, None] == listing) | (category[:, None] != category)] = -np.inf
    assert np.allclose(graph.own, np.sort(cosines, axis=1)[:, ::-1][:, :OWN_DEPTH].mean(axis=1), atol=1e-5)
    ranks = category_overlap.ranks_within(graph.own, category)
    for number in range(3):
        rows = np.flatnonzero(category == number)
        assert sorted(ranks[rows]) == list(range(1, len(rows) + 1))
        assert ranks[rows[graph.own[rows].argmin()]] == 1


def test_a_single_listing_has_no_neighbours() -> None:
    """A single listing, or the only one of a category, has missing neighbours and a missing score, not zeros."""
    embeddings, _, _ = catalogue(6, 1)
    graph = neighbour_graph(embeddings, np.zeros(6, np.int32), np.zeros(6, np.int32), silent)
    assert (graph.rows == -1).all()
    assert (graph.cosines == -1).all()
    assert np.isnan(graph.own).all()
    graph = neighbour_graph(
        embeddings, np.array([0, 0, 0, 0, 1, 1], np.int32), np.array([0, 0, 1, 1, 2, 2], np.int32), silent
    )
    assert np.isnan(graph.own[4:]).all()
    assert (graph.rows[4:, :4] >= 0).all()
    assert (graph.rows[4:, 4:] == -1).all()


def test_overlap_and_distances() -> None:
    """Rows of the overlap sum to one; a category that looks unlike the others overlaps with none."""
    random = np.random.default_rng(0)
    looks = np.eye(8)[[0, 0, 1]]
    category = np.repeat([0, 1, 2], 40).astype(np.int32)
    embeddings = unit(looks[category] + random.normal(0, 0.05, (120, 8)))
    graph = neighbour_graph(embeddings, category, np.arange(120, dtype=np.int32), silent, 10)
    shares = category_overlap.overlap(graph, category, 3)
    assert np.allclose(shares.sum(axis=1), 1)
    assert shares[2, 2] == 1.0
    assert 0.3 < shares[0, 1] < 0.7
    between = category_overlap.distances(embeddings, category, 3)
    assert np.allclose(between, between.T)
    assert (np.diag(between) == 0).all()
    assert between[0, 1] < 0.05
    assert between[0, 2] > 0.9


def test_the_map_keeps_neighbours_and_is_deterministic() -> None:
    """Photos of three kinds are grouped by kind, within -1 and 1; each cluster has one kind."""
    random = np.random.default_rng(0)
    kind = np.repeat([0, 1, 2], 60)
    embeddings = unit(np.eye(32)[kind] + random.normal(0, 0.08, (180, 32)))
    places = lay_out(embeddings)
    assert np.array_equal(places, lay_out(embeddings))
    assert places.shape == (180, 2)
    assert np.abs(places).max() <= 1.0
    rows, _ = plain_neighbours(np.ascontiguousarray(unit(np.hstack([places, np.ones((180, 1))]))), 5)
    assert (kind[rows] == kind[:, None]).mean() > 0.95
    clusters = find_clusters(places)
    assert len(clusters) >= 3
    assert all(len(np.unique(kind[rows])) == 1 for rows in clusters)


@pytest.mark.parametrize("count", [1, 2, 5, 29, 31])
def test_a_map_of_few_photos(count: int) -> None:
    """Any number of photos has a map, even if all are equal."""
    random = np.random.default_rng(0)
    for embeddings in (unit(random.normal(size=(count, 8))), np.tile(np.eye(8, dtype=np.float32)[0], (count, 1))):
        places = lay_out(embeddings)
        assert places.shape == (count, 2)
        assert np.isfinite(places).all()
        find_clusters(places)


def test_even_sample() -> None:
    """Every category has its share, without repeats."""
    category = np.repeat([0, 1], [900, 100])
    rows = even_sample(1_000, 100)
    assert len(np.unique(rows)) == 100
    assert abs((category[rows] == 1).sum() - 10) <= 1
    assert even_sample(5, 100).tolist() == [0, 1, 2, 3, 4]


def test_words_are_rarer_elsewhere() -> None:
    """Words that all titles have are left out, in any language, and so are words of a single listing."""
    titles = ["rotes Sofa zu verkaufen", "blaues Sofa zu verkaufen", "Sofa mit Tisch zu verkaufen"]
    titles += [f"Fahrrad {n} zu verkaufen" for n in ("rot", "blau", "einmalig")]
    words = TitleWords(titles)
    assert words.of(np.array([0, 1, 2])) == ["sofa"]
    assert words.of(np.array([3, 4, 5])) == ["fahrrad"]
    assert words.of(np.array([], np.int64)) == []
    assert TitleWords(["", "🛋"]).of(np.array([0])) == []

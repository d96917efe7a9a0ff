"""Comparing a build with the live collection: recall, golden queries, reasons against promoting it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from catalog.errors import InvalidSetting
from catalog.listing import Listing
from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.builds import CollectionInfo
from catalog.store.collection import PhotoCollection
from index_builds import golden_queries
from index_builds.check import check
from index_builds.index_recall import index_recall
from tests.support.data.vectors import DIM, MODEL, stored

LISTINGS = 600
PHOTOS = 2 * LISTINGS


@pytest.fixture
def photos(lite: MilvusSettings) -> Iterator[PhotoCollection]:
    """A collection of 600 listings with two similar photos each."""
    photos = PhotoCollection.connect(lite, IndexSettings(), consistency="Session")
    photos.ensure(MODEL, DIM)
    photos.writer.upsert(rows(), pairs(0.3))
    photos.writer.flush()
    yield photos
    photos.close()


@contextmanager
def reopened(photos: PhotoCollection, lite: MilvusSettings) -> Iterator[PhotoCollection]:
    """Reopen the collection like another process. Until Lite has built its index, it searches without it."""
    photos.close()
    photos = PhotoCollection.connect(lite, IndexSettings(), consistency="Session")
    yield photos
    photos.close()


def rows(count: int = PHOTOS):
    return [stored(n, Listing(f"l{n // 2}", f"Thing {n // 2}", "Home")) for n in range(count)]


def pairs(spread: float, seed: int = 0):
    """Return embeddings (1200, 32). A smaller spread puts the photos of a listing closer together."""
    random = np.random.default_rng(seed)
    vectors = np.repeat(random.normal(size=(LISTINGS, DIM)), 2, axis=0)
    vectors += spread * random.normal(size=vectors.shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def build(photos: PhotoCollection, embeddings, index: IndexSettings | None = None) -> CollectionInfo:
    info = photos.builds.create("0c" * 32, DIM, index or IndexSettings(), model="/m", state="building")
    photos.at(info).writer.upsert(rows(len(embeddings)), embeddings)
    photos.at(info).writer.flush()
    photos.builds.finish(info.name)
    return info


def run(photos: PhotoCollection, info: CollectionInfo, folder: Path):
    golden_queries.save_answers(photos, folder, 100)
    return check(photos, photos.at(info), folder, min_recall=0.95)


def test_the_same_photos_and_embeddings_pass(photos: PhotoCollection, tmp_path: Path) -> None:
    """A build that returns the same results passes all checks."""
    result = run(photos, build(photos, pairs(0.3), IndexSettings(type="HNSW")), tmp_path)
    assert result.failures == []
    assert result.difference.total == 0
    assert result.overlap > 0.98
    assert result.build.index_recall > 0.95
    assert result.before.finds_own == result.build.finds_own > 0.9
    assert (result.queries, result.build.photos) == (100, PHOTOS)


def test_an_index_that_looks_too_little_is_found_out(
    photos: PhotoCollection, lite: MilvusSettings, tmp_path: Path
) -> None:
    """Searching one cell of 128 misses neighbours that exact search finds; the check fails."""
    info = build(photos, pairs(0.3), IndexSettings(nlist=128, nprobe=1))
    with reopened(photos, lite) as again:
        result = run(again, info, tmp_path)
    assert result.build.index_recall < 0.8
    assert result.before.index_recall > 0.95
    assert any("true neighbours" in failure for failure in result.failures)


def test_recall_is_against_exact_search(photos: PhotoCollection, lite: MilvusSettings) -> None:
    """The recall equals a direct computation over all embeddings."""
    info = build(photos, pairs(0.3), IndexSettings(nlist=64, nprobe=4))
    vectors, queries = pairs(0.3), list(range(60))
    with reopened(photos, lite) as again:
        answers = again.at(info).reader.nearest(vectors[queries], 11)
        recall = index_recall(again.at(info), [f"p{n}" for n in queries])
    shares = []
    for query, neighbours in zip(queries, answers, strict=True):
        cosines = vectors @ vectors[query]
        cosines[query] = -2
        true = {f"p{n}" for n in np.argsort(-cosines)[:10]}
        page = [near.photo.photo_id for _, near in neighbours if near.photo.photo_id != f"p{query}"][:10]
        shares.append(len(true & set(page)) / 10)
    assert 0.2 < np.mean(shares) < 0.99
    assert recall == pytest.approx(np.mean(shares), abs=1e-9)


def test_twins_in_any_order_are_found(lite: MilvusSettings) -> None:
    """Photos with the same embedding are equally near: any ten of them count as found."""
    photos = PhotoCollection.connect(lite, IndexSettings(), consistency="Session")
    try:
        photos.ensure(MODEL, DIM)
        photos.writer.upsert(rows(40), np.repeat(pairs(0.3)[:1], 40, axis=0))
        assert index_recall(photos, ["p0", "p30", "p39"]) == 1.0
    finally:
        photos.close()


def test_a_worse_model_is_found_out(photos: PhotoCollection, tmp_path: Path) -> None:
    """A model that separates the photos of a listing finds the other photo less often, even with a perfect index."""
    result = run(photos, build(photos, pairs(3.0, seed=5)), tmp_path)
    assert result.overlap < 0.5
    assert result.build.finds_own < result.before.finds_own - 0.05
    assert len(result.failures) == 1
    assert "other photo" in result.failures[0]


def test_missing_photos_are_found_out(photos: PhotoCollection, tmp_path: Path) -> None:
    """A build that lacks photos fails the check; golden queries that it lacks are skipped."""
    result = run(photos, build(photos, pairs(0.3)[:1000]), tmp_path)
    assert any("200 missing" in failure for failure in result.failures)
    assert result.queries < 100


def test_golden_queries_are_what_was_answered(photos: PhotoCollection, tmp_path: Path) -> None:
    """Golden queries are chosen by a fixed seed; their stored results exclude their own listings."""
    path = golden_queries.save_answers(photos, tmp_path / "golden", 20)
    kept = golden_queries.read_answers(tmp_path / "golden", photos.info().name)
    assert path == tmp_path / "golden" / f"{photos.info().name}.parquet"
    assert len({answer.photo_id for answer in kept}) == 20
    assert [answer.photo_id for answer in kept] == golden_queries.choose_queries(photos, 20)
    again = golden_queries.run_queries(photos, [answer.photo_id for answer in kept])
    assert [(a.listings, a.finds_own) for a in again] == [(a.listings, a.finds_own) for a in kept]
    for answer in kept:
        assert len(answer.listings) == len(answer.scores) == 10
        assert answer.listing_id not in answer.listings
    with pytest.raises(InvalidSetting, match="No golden queries") as caught:
        golden_queries.read_answers(tmp_path, photos.info().name)
    assert "marketlens index golden" in caught.value.hint


def test_listings_with_several_photos_are_asked_with_first(lite: MilvusSettings) -> None:
    """Only listings with several photos can show whether a photo finds the other one, so they are chosen first."""
    photos = PhotoCollection.connect(lite, IndexSettings(), consistency="Session")
    try:
        photos.ensure(MODEL, DIM)
        photos.writer.upsert([*rows(4), stored(100), stored(101), stored(102)], pairs(0.3)[:7])
        assert set(golden_queries.choose_queries(photos, 4)) == {"p0", "p1", "p2", "p3"}
        assert {answer.photo_id: answer.finds_own for answer in golden_queries.run_queries(photos, ["p0", "p100"])} == {
            "p0": True,
            "p100": None,
        }
    finally:
        photos.close()

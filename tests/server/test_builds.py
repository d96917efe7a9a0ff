"""The contract of builds and the alias, tested on embedded Milvus Lite and on a real server."""

import time
from dataclasses import replace
from datetime import datetime, tzinfo

import numpy as np
import pytest

from catalog.errors import BuildRefused, CollectionMissing, CollectionReplaced, NotFound
from catalog.settings import IndexSettings
from catalog.store.builds import CollectionInfo
from catalog.store.collection import PhotoCollection
from catalog.store.filters import SearchFilter
from index_builds.difference import compare, find_suspects, look_up_batches
from index_builds.promotion import require_same
from tests.support.data.catalogues import Connect
from tests.support.data.vectors import DIM, MODEL, stored, unit_vectors

OTHER = "0c" * 32


@pytest.fixture
def photos(connect: Connect) -> PhotoCollection:
    """A catalogue of ten photos."""
    collection = connect()
    collection.ensure(MODEL, DIM, model="/models/first")
    collection.writer.upsert([stored(number) for number in range(10)], unit_vectors(10))
    return collection


def make_build(photos: PhotoCollection, count: int = 10, fingerprint: str = OTHER) -> CollectionInfo:
    """Create a complete build of the photos p0, p1 and so on."""
    info = photos.builds.create(fingerprint, DIM, IndexSettings(), model="/models/second", state="building")
    photos.at(info).writer.upsert([stored(number) for number in range(count)], unit_vectors(count, seed=7))
    photos.at(info).writer.flush()
    photos.builds.finish(info.name)
    return photos.builds.describe(info.name)


def test_a_build_describes_its_origin(photos: PhotoCollection, connect: Connect) -> None:
    """The store itself keeps a build's model folder, fingerprint, index and state."""
    index = IndexSettings(type="HNSW", hnsw_m=8)
    build = photos.builds.create(OTHER, 16, index, model="/models/second", state="building")
    assert connect().builds.describe(build.name) == build
    assert (build.fingerprint, build.dim, build.index, build.model) == (OTHER, 16, index, "/models/second")
    assert (build.state, photos.builds.live().state) == ("building", "ready")
    assert photos.builds.live().model == "/models/first"


def test_builds_of_one_second_do_not_collide(photos: PhotoCollection) -> None:
    """Each build has a unique name, the newest comes first, and collections of other aliases are not listed."""
    builds = [photos.builds.create(OTHER, 8, IndexSettings(), model="", state="ready") for _ in range(3)]
    names = [info.name for info in photos.builds.all()]
    assert names == [*(info.name for info in reversed(builds)), photos.builds.live().name]
    assert photos.builds.find(builds[0].build) == photos.builds.find(builds[0].name) == builds[0]
    with pytest.raises(NotFound):
        photos.builds.find("photos")


def test_promote_and_back(photos: PhotoCollection) -> None:
    """Promote only moves the alias: the previous build is unchanged, and rollback returns to it."""
    first, second = photos.builds.live(), make_build(photos, count=12)
    assert photos.builds.newest() == second
    photos.builds.promote(second)
    assert photos.info(fresh=True).name == second.name
    assert (photos.reader.count(), photos.at(first).reader.count()) == (12, 10)
    assert photos.reader.search(unit_vectors(12, seed=7)[11:12], SearchFilter(), 1).hits[0].photo_id == "p11"
    assert photos.builds.previous().name == first.name
    assert photos.builds.rollback().name == first.name
    assert photos.builds.live().name == first.name


def test_rollback_skips_rolled_back_builds(photos: PhotoCollection) -> None:
    """Rollback returns to the build that was live before the current one, not to the one promoted last."""
    first, bad = photos.builds.live(), make_build(photos)
    photos.builds.promote(bad)
    photos.builds.rollback()
    good = make_build(photos)
    photos.builds.promote(good)
    assert photos.builds.rollback().name == first.name
    with pytest.raises(NotFound, match=f"before {first.name}"):
        photos.builds.rollback()
    assert photos.builds.live().name == first.name


def test_an_unfinished_build_is_not_promoted(photos: PhotoCollection) -> None:
    """An unfinished build and the live build cannot be promoted, and the alias does not move."""
    live = photos.builds.live()
    unfinished = photos.builds.create(OTHER, DIM, IndexSettings(), model="", state="building")
    with pytest.raises(BuildRefused, match="not complete") as caught:
        photos.builds.promote(unfinished)
    assert "--resume" in caught.value.hint
    with pytest.raises(BuildRefused, match="already live"):
        photos.builds.promote(live)
    assert photos.builds.live() == live


def test_drop_protects_builds_in_use(photos: PhotoCollection) -> None:
    """The live build is never dropped, the build that rollback needs only with force; others are dropped."""
    first, second = photos.builds.live(), make_build(photos)
    photos.builds.promote(second)
    third = make_build(photos)
    for force in (False, True):
        with pytest.raises(BuildRefused, match="is live"):
            photos.builds.drop(second, force=force)
    with pytest.raises(BuildRefused, match="target of a rollback"):
        photos.builds.drop(first)
    photos.builds.drop(third)
    photos.builds.drop(first, force=True)
    assert [info.name for info in photos.builds.all()] == [second.name]
    with pytest.raises(NotFound, match="was dropped"):
        photos.builds.rollback()
    assert photos.builds.live() == photos.info(fresh=True)
    assert photos.reader.count() == 10


def test_without_a_newer_build_there_is_nothing_to_promote(photos: PhotoCollection) -> None:
    """The live build is not its own successor, and the hint says how to create a newer one."""
    with pytest.raises(NotFound) as caught:
        photos.builds.newest()
    assert "marketlens index build" in caught.value.hint


def test_a_view_of_a_build_stays_with_it(photos: PhotoCollection) -> None:
    """A view does not follow the alias; once its build is dropped, it raises and does not return another's hits."""
    first, second = photos.builds.live(), make_build(photos, count=12)
    view = photos.at(first)
    photos.builds.promote(second)
    assert (view.info().name, view.reader.count()) == (first.name, 10)
    photos.builds.drop(first, force=True)
    with pytest.raises(CollectionMissing):
        view.reader.search(unit_vectors(1), SearchFilter(), 5)


def test_an_ingest_stops_when_another_build_goes_live(photos: PhotoCollection) -> None:
    """Its embeddings are never mixed with another model's, and its last batch is not lost silently."""
    first, second = photos.builds.live(), make_build(photos)
    photos.builds.promote(second)
    with pytest.raises(CollectionReplaced, match=second.name):
        photos.writer.flush()
    with pytest.raises(CollectionReplaced):
        photos.writer.upsert([stored(99)], unit_vectors(1))
    with pytest.raises(CollectionReplaced):
        photos.writer.remove(["p0"])
    assert (photos.at(first).reader.count(), photos.at(second).reader.count()) == (10, 10)


def test_differences_are_counted(photos: PhotoCollection) -> None:
    """Photos that are missing, changed or removed are counted; a different hash or price is enough."""
    build = photos.at(make_build(photos, count=8))
    live = photos.at(photos.builds.live())
    cheaper = stored(0, replace(stored(0).photo.listing, price=1.0))
    other_bytes = replace(stored(1), sha256="f" * 64)
    build.writer.upsert([cheaper, other_bytes, stored(20)], unit_vectors(3))
    difference = compare(live, build)
    assert (difference.missing, difference.changed, difference.removed) == (2, 2, 1)
    assert str(difference) == "2 missing, 2 out of date, 1 removed since"
    with pytest.raises(BuildRefused, match="differs from the live collection in 5 of 10 photos"):
        require_same(photos, build.info())
    batches = list(look_up_batches(live, build, find_suspects(live, build)))
    assert {row.photo.photo_id for batch in batches for row in batch.changed} == {"p0", "p1", "p8", "p9"}
    assert [photo_id for batch in batches for photo_id in batch.removed] == ["p20"]


def test_the_same_photos_are_no_difference(photos: PhotoCollection) -> None:
    """Only photos are compared, not embeddings, so the model does not matter."""
    build = make_build(photos, count=10)
    assert compare(photos, photos.at(build)).total == 0
    require_same(photos, build)


def test_vectors_and_records_are_complete(photos: PhotoCollection) -> None:
    """Both contain each photo once, with its own embedding."""
    build = photos.at(make_build(photos, count=2_500))
    expected = unit_vectors(2_500, seed=7)
    build.reader.wait_for_scan_lag()
    embeddings_by_id = {}
    for ids, embeddings in build.reader.vectors():
        embeddings_by_id |= dict(zip(ids, embeddings, strict=True))
    assert len(embeddings_by_id) == 2_500
    assert all(np.allclose(embeddings_by_id[f"p{number}"], expected[number], atol=1e-6) for number in range(2_500))
    records = [record for batch in build.reader.records() for record in batch]
    assert sorted(record.photo.photo_id for record in records) == sorted(embeddings_by_id)


def test_a_clock_that_was_set_back(photos: PhotoCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest build is the one created last, whatever the clock says."""

    class Yesterday(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Yesterday":
            return cls.fromtimestamp(time.time() - 86_400, tz)

    first = make_build(photos)
    monkeypatch.setattr("catalog.store.builds.datetime", Yesterday)
    second, third = make_build(photos), make_build(photos)
    assert first.build < second.build < third.build
    assert photos.builds.newest().name == third.name

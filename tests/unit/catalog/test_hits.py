from catalog.listing import Listing, Photo, Scored, StoredPhoto
from catalog.search.hits import group_hits


def scored(score: float, photo_id: str) -> Scored:
    """A photo `l1-0` belongs to the listing `l1`."""
    return score, StoredPhoto(Photo(photo_id, Listing(photo_id.partition("-")[0]), "/a.jpg"), "", 0)


def test_each_photo_once() -> None:
    """A photo found by two query photos is listed once, with the better score, whichever came first."""
    photos = [scored(0.5, "a-0"), scored(0.9, "b-0"), scored(0.8, "a-0"), scored(0.1, "b-0")]
    hits = group_hits(photos, "photo")
    assert [(hit.score, hit.photo) for hit in hits] == [scored(0.9, "b-0"), scored(0.8, "a-0")]


def test_equal_scores_are_ordered_by_id() -> None:
    """Photos with equal scores are ordered by id, whatever order the store returned."""
    photos = [scored(0.5, "c-0"), scored(0.5, "a-0"), scored(0.5, "b-0")]
    for order in (photos, photos[::-1]):
        assert [hit.photo_id for hit in group_hits(order, "photo")] == ["a-0", "b-0", "c-0"]


def test_each_listing_once() -> None:
    """A listing is one hit, with the rank and score of its nearest photo; its other photos are attached."""
    photos = [scored(0.9, "a-1"), scored(0.8, "b-0"), scored(0.7, "a-0"), scored(0.6, "c-0")]
    hits = group_hits(photos, "listing")
    assert [(hit.listing.listing_id, hit.photo_id, hit.score) for hit in hits] == [
        ("a", "a-1", 0.9),
        ("b", "b-0", 0.8),
        ("c", "c-0", 0.6),
    ]
    assert [hit.others for hit in hits] == [(photos[2],), (), ()]


def test_group_by_photo() -> None:
    """Grouped by photo, every photo is a separate hit."""
    photos = [scored(0.9, "a-1"), scored(0.8, "b-0"), scored(0.7, "a-0")]
    hits = group_hits(photos, "photo")
    assert [(hit.photo_id, hit.others) for hit in hits] == [("a-1", ()), ("b-0", ()), ("a-0", ())]


def test_seen_hits_are_left_out() -> None:
    """`seen` gets listing ids if hits are listings, photo ids if hits are photos."""
    photos = [scored(0.9, "a-1"), scored(0.8, "b-0"), scored(0.7, "a-0")]
    assert [hit.photo_id for hit in group_hits(photos, "listing", {"a"}.__contains__)] == ["b-0"]
    assert [hit.photo_id for hit in group_hits(photos, "photo", {"a-1"}.__contains__)] == ["b-0", "a-0"]


def test_no_photos() -> None:
    """Without photos there are no hits."""
    assert group_hits([], "listing") == []

from catalog.listing import Listing, Photo, Scored, StoredPhoto
from catalog.search.hits import best_per_photo, group


def scored(score: float, photo_id: str) -> Scored:
    """A photo `l1-0` belongs to the listing `l1`."""
    return score, StoredPhoto(Photo(photo_id, Listing(photo_id.partition("-")[0]), "/a.jpg"), "", 0)


def test_each_photo_once() -> None:
    """A photo found by two query photos stands once, with the better score, whichever came first."""
    found = best_per_photo([scored(0.5, "a-0"), scored(0.9, "b-0"), scored(0.8, "a-0"), scored(0.1, "b-0")])
    assert found == [scored(0.9, "b-0"), scored(0.8, "a-0")]


def test_equal_scores_keep_an_order() -> None:
    """Photos with one score come in the order of their ids, whatever order the store gave."""
    photos = [scored(0.5, "c-0"), scored(0.5, "a-0"), scored(0.5, "b-0")]
    assert best_per_photo(photos) == best_per_photo(photos[::-1]) == [photos[1], photos[2], photos[0]]


def test_each_listing_once() -> None:
    """A listing stands once, at the place and with the score of its nearest photo, its other photos beside it."""
    photos = [scored(0.9, "a-1"), scored(0.8, "b-0"), scored(0.7, "a-0"), scored(0.6, "c-0")]
    hits = group(photos, "listing")
    assert [(hit.listing.listing_id, hit.photo_id, hit.score) for hit in hits] == [
        ("a", "a-1", 0.9),
        ("b", "b-0", 0.8),
        ("c", "c-0", 0.6),
    ]
    assert [hit.others for hit in hits] == [(photos[2],), (), ()]


def test_photos_stay_apart() -> None:
    """Grouped by photo, every photo is a hit of its own."""
    photos = [scored(0.9, "a-1"), scored(0.8, "b-0"), scored(0.7, "a-0")]
    assert [(hit.photo_id, hit.others) for hit in group(photos, "photo")] == [("a-1", ()), ("b-0", ()), ("a-0", ())]


def test_what_was_shown_is_left_out() -> None:
    """`seen` is asked for listings where those are hits, for photos where those are."""
    photos = [scored(0.9, "a-1"), scored(0.8, "b-0"), scored(0.7, "a-0")]
    assert [hit.photo_id for hit in group(photos, "listing", {"a"}.__contains__)] == ["b-0"]
    assert [hit.photo_id for hit in group(photos, "photo", {"a-1"}.__contains__)] == ["b-0", "a-0"]


def test_nothing_found() -> None:
    """No photos give no hits."""
    assert best_per_photo([]) == []
    assert group([], "listing") == []

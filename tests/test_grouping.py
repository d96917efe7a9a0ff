from catalog.grouping import Scored, best_per_photo, group_by_listing
from catalog.listing import Listing, Photo, StoredPhoto


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
    """A listing stands once, at the place and with the score of its nearest photo."""
    photos = [scored(0.9, "a-1"), scored(0.8, "b-0"), scored(0.7, "a-0"), scored(0.6, "c-0")]
    hits = group_by_listing(photos, 10)
    assert [(hit.listing.listing_id, hit.photo_id, hit.score) for hit in hits] == [
        ("a", "a-1", 0.9),
        ("b", "b-0", 0.8),
        ("c", "c-0", 0.6),
    ]
    assert [hit.matched_photos for hit in hits] == [2, 1, 1]


def test_limit_counts_listings() -> None:
    """One listing with many photos does not fill the page, and photos beyond the last hit are not counted."""
    photos = [
        *(scored(0.9 - number / 100, f"a-{number}") for number in range(5)),
        scored(0.5, "b-0"),
        scored(0.4, "a-9"),
    ]
    first, second = group_by_listing([*photos, scored(0.3, "c-0")], 2)
    assert (first.listing.listing_id, first.matched_photos) == ("a", 5)
    assert (second.listing.listing_id, second.matched_photos) == ("b", 1)


def test_nothing_found() -> None:
    """No photos, or no room, give no hits."""
    assert best_per_photo([]) == []
    assert group_by_listing([], 10) == []
    assert group_by_listing([scored(0.9, "a-0")], 0) == []

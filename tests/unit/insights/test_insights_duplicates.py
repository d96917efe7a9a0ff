"""Duplicates: kinds on edited photos, and groups that do not chain."""

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from catalog.listing import Embeddings
from catalog.photo_files.hosts import make_reader
from catalog.progress import silent
from embedding.photos import open_photo
from insights.duplicates import edited_photos
from insights.duplicates.groups import (
    MAX_LISTINGS,
    DuplicateKind,
    Group,
    Link,
    group_listings,
    near_pairs,
    same_bytes,
    weakest,
)
from insights.duplicates.same_item import same_item_probability
from insights.neighbours.graph import neighbour_graph
from tests.support.data.pictures import jpeg
from tests.support.paths import LISTINGS

PART = 40


@pytest.fixture(scope="module")
def real_photos() -> list[Image.Image]:
    """Return some real photos; none of them is a repost of another."""
    if not LISTINGS.exists():
        pytest.skip(f"needs {LISTINGS}, which is not part of the repository")
    files = sorted((LISTINGS / "images").iterdir())[:: 4305 // PART][:PART]
    return [open_photo(path.read_bytes()) for path in files]


def edited(image: Image.Image, edit: str) -> Image.Image:
    width, height = image.size
    if edit == "recompressed":
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=30)
        return open_photo(buffer.getvalue())
    if edit == "scaled":
        return image.resize((int(0.6 * width), int(0.6 * height)), Image.Resampling.BICUBIC)
    if edit == "cropped":
        return image.crop((0, 0, int(0.95 * width), int(0.95 * height)))
    if edit == "cropped around":
        return image.crop((width // 40, height // 40, width - width // 40, height - height // 40))
    if edit == "mirrored":
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return ImageEnhance.Brightness(image).enhance(0.7 if edit == "darker" else 1.3)


@pytest.mark.parametrize(
    "edit", ["recompressed", "scaled", "cropped", "cropped around", "mirrored", "darker", "brighter"]
)
def test_an_edited_photo_is_the_same_photo(real_photos: list[Image.Image], edit: str) -> None:
    """At least 38 of 40 real photos are recognised after they are edited and saved."""
    recognised = [
        edited_photos.pixel_correlation(
            edited_photos.thumbnail(photo), edited_photos.thumbnail(open_photo(jpeg(edited(photo, edit))))
        )
        >= edited_photos.SAME_PHOTO
        for photo in real_photos
    ]
    assert sum(recognised) >= PART - 2


def test_different_photos_are_not_the_same_photo(real_photos: list[Image.Image]) -> None:
    """No pair of different photos passes, not even similar shots that are usual on a marketplace."""
    thumbnails = [edited_photos.thumbnail(photo) for photo in real_photos]
    pairs = [(a, b) for a in range(PART) for b in range(a)]
    assert (
        max(edited_photos.pixel_correlation(thumbnails[a], thumbnails[b]) for a, b in pairs) < edited_photos.SAME_PHOTO
    )


def test_plain_photos_do_not_correlate() -> None:
    """Two photos of a single colour each have no details, so they do not correlate."""
    red, blue = (edited_photos.thumbnail(Image.new("RGB", (80, 60), colour)) for colour in ("red", "blue"))
    assert abs(edited_photos.pixel_correlation(red, blue)) < 0.01


def test_unreadable_photos_are_none(tmp_path: Path) -> None:
    """A missing or damaged photo does not stop the others, and the order stays."""
    (tmp_path / "good.jpg").write_bytes(jpeg(Image.new("RGB", (64, 64), "red")))
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    advanced: list[int] = []
    uris = [str(tmp_path / name) for name in ("gone.jpg", "good.jpg", "broken.jpg")]
    read = list(edited_photos.read_thumbnails(uris, make_reader(1_000_000, 20), advanced.append))
    assert [photo is None for photo in read] == [True, False, True]
    assert sum(advanced) == 3


def link(a: int, b: int, kind: DuplicateKind, similarity: float = 0.9) -> Link:
    return Link(a, b, similarity, kind)


def sets(links: list[Link], listings: int = 10) -> list[set[int]]:
    """Return the groups of links between photos of different listings."""
    groups, too_large = group_listings(links, np.arange(listings, dtype=np.int32))
    assert too_large == 0
    return sorted((group.listings for group in groups), key=min)


def test_items_do_not_chain() -> None:
    """If A is like B and B like C, but A not like C, the nearer pair is a group without C."""
    a_b, b_c = link(0, 1, "same_item", 0.95), link(1, 2, "same_item", 0.9)
    assert sets([a_b, b_c]) == [{0, 1}]
    assert sets([a_b, b_c, link(0, 2, "same_item", 0.88)]) == [{0, 1, 2}]
    chain = [link(first, second, "same_item") for first, second in pairwise(range(10))]
    assert all(len(group) == 2 for group in sets(chain))


def test_the_same_picture_always_joins_its_listings() -> None:
    """A reposted file and an edit of it are one group; an item joins only if it is like all of them."""
    links = [link(0, 1, "same_bytes", 1.0), link(1, 2, "same_photo")]
    assert sets(links) == [{0, 1, 2}]
    assert sets([*links, link(2, 3, "same_item")]) == [{0, 1, 2}]
    assert sets([*links, *(link(number, 3, "same_item") for number in range(3))]) == [{0, 1, 2, 3}]


def test_kind_and_probability_of_a_group() -> None:
    """The kind is the strongest link's, the probability the weakest needed link's; same pictures have none."""
    listing = np.arange(4, dtype=np.int32)
    links = [link(0, 1, "same_photo", 0.8), link(1, 2, "same_item", 0.93), link(0, 2, "same_item", 0.9)]
    (group,), _ = group_listings(links, listing)
    assert group.kind == "same_photo"
    assert weakest(group, listing) == 0.93
    assert weakest(Group({0, 1}, [links[0]]), listing) is None


def test_a_placeholder_is_left_out_and_counted() -> None:
    """A picture that too many listings share is no duplicate."""
    count = MAX_LISTINGS + 1
    links = [link(first, second, "same_bytes") for first, second in pairwise(range(count))]
    links.append(link(count, count + 1, "same_bytes"))
    groups, too_large = group_listings(links, np.arange(count + 2, dtype=np.int32))
    assert [group.listings for group in groups] == [{count, count + 1}]
    assert too_large == 1


def _embeddings(count: int) -> Embeddings:
    vectors = np.random.default_rng(0).normal(size=(count, 8))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_same_bytes_links_each_listing_once_and_never_with_itself() -> None:
    """Three listings with the same file have two links; a listing that has a file twice has none."""
    hashes = np.array([7, 7, 7, 7, 5, 5, 3])
    listing = np.array([0, 0, 1, 2, 3, 3, 4], np.int32)
    pairs = [(same.a, same.b) for same in same_bytes(hashes, listing, _embeddings(7))]
    assert pairs == [(0, 2), (2, 3)]


def test_near_pairs_are_unique() -> None:
    """A pair is returned once, even if each photo has the other as its neighbour."""
    embeddings = _embeddings(30)
    embeddings[4] = embeddings[20]
    listing = np.arange(30, dtype=np.int32)
    graph = neighbour_graph(embeddings, np.zeros(30, np.int32), listing, silent)
    pairs, cosines = near_pairs(graph, listing, 0.99)
    assert pairs.tolist() == [[4, 20]]
    assert cosines[0] == pytest.approx(1)


def test_the_same_item_is_decided_by_photo_title_and_price() -> None:
    """Alike photos alone prove nothing; an equal title and price do, and an unknown price is between."""
    alone = same_item_probability(0.85, ("Oak table", "Red chair"), (40.0, 400.0))
    titled = same_item_probability(0.85, ("Oak table", "OAK TABLE!"), (40.0, 40.0))
    unknown = same_item_probability(0.85, ("Oak table", "Oak table"), (40.0, None))
    dearer = same_item_probability(0.85, ("Oak table", "Oak table"), (40.0, 80.0))
    assert alone < 0.1
    assert 0.5 < unknown < titled
    assert dearer < 0.5
    assert same_item_probability(0.5, ("Oak table", "Oak table"), (40.0, 40.0)) < 0.5
    assert same_item_probability(0.95, ("", "🛋️"), (None, None)) < 0.5

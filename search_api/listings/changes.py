"""One listing put or removed. A photo's file comes before its record and goes after it: no stored photo lacks its file.

What is there is looked at while nobody else makes a change: what was seen before may be gone by the time of writing.
"""

import asyncio
import hashlib
import time
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from catalog.errors import InvalidQuery, ListingConflict, NotFound
from catalog.listing import Embeddings, Listing, Photo, StoredPhoto
from catalog.photo_files.files import source_tag
from catalog.text import id_problem, make_quotable
from embedding.embedder import Pixels
from embedding.photos import open_photo
from search_api.listings.fields import as_seconds
from search_api.listings.photo_store import PhotoStore, clean
from search_api.schemas import PutListing, PutPhoto
from search_api.serving.live_catalogue import Live
from search_api.serving.photos import from_base64

_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class _Cleaned:
    photo_id: str
    data: bytes
    pixels: Pixels


async def put_listing(
    live: Live, listing_id: str, wanted: PutListing, uploads: Sequence[bytes], folder: PhotoStore
) -> tuple[list[StoredPhoto], bool]:
    """Write a listing as it is wanted; returns its photos, and whether it is new.

    Raises InvalidQuery, PhotoUnusable, ListingConflict, OutputFailed, and what writing raises.
    """
    _check(listing_id, wanted, len(uploads))
    cleaned = await _clean(wanted, uploads, live)
    pixels = [one.pixels for one in cleaned]
    embedded = await live.stages.embed.run(np.stack(pixels)) if pixels else np.empty((0, live.embedder.dim), np.float32)
    return await live.stages.store.run(lambda: _write(listing_id, wanted, cleaned, embedded, live, folder))


async def remove_listing(live: Live, listing_id: str, folder: PhotoStore) -> int:
    """Take a listing out of the catalogue; returns how many photos it had. Raises NotFound and what writing raises."""

    def remove() -> int:
        with live.photos.writer.change_listing(listing_id) as change:
            if not change.before:
                raise NotFound(f"There is no listing {listing_id!r}.")
            change.remove()
            folder.drop(change.before)
            return len(change.before)

    return await live.stages.store.run(remove)


def _check(listing_id: str, wanted: PutListing, uploads: int) -> None:
    for identity in (listing_id, *(photo.photo_id for photo in wanted.photos)):
        if problem := id_problem(identity):
            raise InvalidQuery(f"This cannot be an id: {problem[1]}.")
    named = [photo.upload for photo in wanted.photos if photo.upload is not None]
    if sorted(named) != list(range(uploads)):
        raise InvalidQuery(
            f"{uploads} photos were uploaded, and the fields `upload` name {sorted(named)}.",
            hint="Each uploaded photo, counted from 0, belongs to exactly one photo_id.",
        )


def _check_new(listing_id: str, wanted: PutListing, before: Container[str], live: Live) -> None:
    """Whether photos that the listing does not have can become its own. Raises ListingConflict, InvalidQuery."""
    new = [photo for photo in wanted.photos if photo.photo_id not in before]
    for photo_id, stored in live.photos.reader.stored([photo.photo_id for photo in new], strong=True).items():
        if (owner := stored.photo.listing.listing_id) != listing_id:
            raise ListingConflict(f"The photo {photo_id!r} belongs to the listing {owner!r}.")
    for photo in new:
        if not _is_sent(photo):
            raise InvalidQuery(
                f"The photo {photo.photo_id!r} is not stored, and did not come along.",
                hint="Send it: as a file with `upload`, or as `photo_base64`.",
            )


async def _clean(wanted: PutListing, uploads: Sequence[bytes], live: Live) -> list[_Cleaned]:
    room = asyncio.Semaphore(_AT_ONCE)

    def work(photo: PutPhoto) -> _Cleaned:
        sent = uploads[photo.upload] if photo.upload is not None else from_base64(photo.photo_base64 or "")
        data = clean(sent)
        # What is embedded is what is kept: made anew from its file, the embedding is the same.
        return _Cleaned(photo.photo_id, data, live.embedder.preprocess(open_photo(data)))

    async def one(photo: PutPhoto) -> _Cleaned:
        async with room:
            return await live.stages.decode.run(lambda: work(photo))

    return await asyncio.gather(*(one(photo) for photo in wanted.photos if _is_sent(photo)))


def _write(
    listing_id: str,
    wanted: PutListing,
    cleaned: Sequence[_Cleaned],
    embedded: Embeddings,
    live: Live,
    folder: PhotoStore,
) -> tuple[list[StoredPhoto], bool]:
    listing = _listing(listing_id, wanted)
    same = [photo.photo_id for photo in wanted.photos if not _is_sent(photo)]
    with live.photos.writer.change_listing(listing_id) as change:
        before = {stored.photo.photo_id: stored for stored in change.before}
        _check_new(listing_id, wanted, before, live)
        new = [_keep(one, listing, folder) for one in cleaned]
        photos = [replace(before[one], photo=replace(before[one].photo, listing=listing)) for one in same] + new
        try:
            vectors = np.concatenate([live.photos.reader.embeddings(same, strong=True), embedded]) if same else embedded
            written = change.write(photos, vectors)
        except BaseException:
            folder.drop(stored for stored in new if stored.photo.uri not in _uris(before.values()))
            raise
        folder.drop(stored for stored in before.values() if stored.photo.uri not in _uris(photos))
    return sorted(written, key=lambda stored: stored.photo.photo_id), not before


def _listing(listing_id: str, wanted: PutListing) -> Listing:
    return Listing(
        listing_id,
        make_quotable(wanted.title),
        make_quotable(wanted.category),
        make_quotable(wanted.subcategory),
        wanted.price,
        wanted.currency,
        make_quotable(wanted.location),
        None if wanted.listed_at is None else as_seconds(wanted.listed_at),
    )


def _keep(one: _Cleaned, listing: Listing, folder: PhotoStore) -> StoredPhoto:
    path = str(folder.keep(one.photo_id, one.data))
    sha256 = hashlib.sha256(one.data).hexdigest()
    return StoredPhoto(Photo(one.photo_id, listing, path), sha256, int(time.time()), source_tag(path))


def _is_sent(photo: PutPhoto) -> bool:
    return photo.upload is not None or photo.photo_base64 is not None


def _uris(photos: Iterable[StoredPhoto]) -> set[str]:
    return {stored.photo.uri for stored in photos}

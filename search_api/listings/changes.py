"""Writes and removes single listings.

A photo's file is saved before its record is written and deleted after the record is removed, so that no stored photo
lacks its file. The current state is read under the lock of the change, because it may be outdated otherwise.
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
from search_api.serving.live_catalogue import LiveBuild
from search_api.serving.photos import from_base64

_PARALLEL_PHOTOS = 4


@dataclass(frozen=True, slots=True)
class _CleanedPhoto:
    photo_id: str
    data: bytes
    pixels: Pixels


async def put_listing(
    live: LiveBuild, listing_id: str, request: PutListing, uploads: Sequence[bytes], photo_store: PhotoStore
) -> tuple[list[StoredPhoto], bool]:
    """Create or replace a listing. Return its photos, and whether it is new.

    Raises InvalidQuery, PhotoUnusable, ListingConflict, OutputFailed, and the errors of writing.
    """
    _check(listing_id, request, len(uploads))
    cleaned = await _clean(request, uploads, live)
    pixels = [photo.pixels for photo in cleaned]
    embedded = await live.stages.embed.run(np.stack(pixels)) if pixels else np.empty((0, live.embedder.dim), np.float32)
    return await live.stages.store.run(lambda: _write(listing_id, request, cleaned, embedded, live, photo_store))


async def remove_listing(live: LiveBuild, listing_id: str, photo_store: PhotoStore) -> int:
    """Remove a listing. Return how many photos it had. Raises NotFound and the errors of writing."""

    def remove() -> int:
        with live.photos.writer.change_listing(listing_id) as change:
            if not change.before:
                raise NotFound(f"There is no listing {listing_id!r}.")
            change.remove()
            photo_store.delete(change.before)
            return len(change.before)

    return await live.stages.store.run(remove)


def _check(listing_id: str, request: PutListing, uploads: int) -> None:
    for identity in (listing_id, *(photo.photo_id for photo in request.photos)):
        if problem := id_problem(identity):
            raise InvalidQuery(f"This is not a valid id: {problem[1]}.")
    indexes = [photo.upload for photo in request.photos if photo.upload is not None]
    if sorted(indexes) != list(range(uploads)):
        raise InvalidQuery(
            f"{uploads} photos were uploaded, but the fields `upload` name {sorted(indexes)}.",
            hint="Assign each uploaded photo, counted from 0, to exactly one photo_id.",
        )


def _check_new(listing_id: str, request: PutListing, before: Container[str], live: LiveBuild) -> None:
    """Check that the photos new to the listing can be added to it. Raises ListingConflict, InvalidQuery."""
    new = [photo for photo in request.photos if photo.photo_id not in before]
    for photo_id, stored in live.photos.reader.stored([photo.photo_id for photo in new], strong=True).items():
        if (owner := stored.photo.listing.listing_id) != listing_id:
            raise ListingConflict(f"The photo {photo_id!r} belongs to the listing {owner!r}.")
    for photo in new:
        if not _is_sent(photo):
            raise InvalidQuery(
                f"The photo {photo.photo_id!r} is not stored and was not sent.",
                hint="Send it as a file with `upload`, or as `photo_base64`.",
            )


async def _clean(request: PutListing, uploads: Sequence[bytes], live: LiveBuild) -> list[_CleanedPhoto]:
    slots = asyncio.Semaphore(_PARALLEL_PHOTOS)

    def work(photo: PutPhoto) -> _CleanedPhoto:
        sent = uploads[photo.upload] if photo.upload is not None else from_base64(photo.photo_base64 or "")
        data = clean(sent)
        # Embed the stored JPEG, so that embedding its file again gives the same embedding.
        return _CleanedPhoto(photo.photo_id, data, live.embedder.preprocess(open_photo(data)))

    async def clean_photo(photo: PutPhoto) -> _CleanedPhoto:
        async with slots:
            return await live.stages.decode.run(lambda: work(photo))

    return await asyncio.gather(*(clean_photo(photo) for photo in request.photos if _is_sent(photo)))


def _write(
    listing_id: str,
    request: PutListing,
    cleaned: Sequence[_CleanedPhoto],
    embedded: Embeddings,
    live: LiveBuild,
    photo_store: PhotoStore,
) -> tuple[list[StoredPhoto], bool]:
    listing = _listing(listing_id, request)
    unchanged = [photo.photo_id for photo in request.photos if not _is_sent(photo)]
    with live.photos.writer.change_listing(listing_id) as change:
        before = {stored.photo.photo_id: stored for stored in change.before}
        _check_new(listing_id, request, before, live)
        new = [_save(photo, listing, photo_store) for photo in cleaned]
        kept = [
            replace(before[photo_id], photo=replace(before[photo_id].photo, listing=listing)) for photo_id in unchanged
        ]
        photos = kept + new
        try:
            vectors = live.embedder.add_titles(embedded, [listing.title] * len(new))
            if unchanged:
                stored = live.photos.reader.embeddings(unchanged, strong=True)
                old_titles = [before[photo_id].photo.listing.title for photo_id in unchanged]
                renamed = live.embedder.replace_titles(stored, old_titles, [listing.title] * len(kept))
                vectors = np.concatenate([renamed, vectors])
            written = change.write(photos, vectors)
        except BaseException:
            photo_store.delete(stored for stored in new if stored.photo.uri not in _uris(before.values()))
            raise
        photo_store.delete(stored for stored in before.values() if stored.photo.uri not in _uris(photos))
    return sorted(written, key=lambda stored: stored.photo.photo_id), not before


def _listing(listing_id: str, request: PutListing) -> Listing:
    return Listing(
        listing_id,
        make_quotable(request.title),
        make_quotable(request.category),
        make_quotable(request.subcategory),
        request.price,
        request.currency,
        make_quotable(request.location),
        None if request.listed_at is None else as_seconds(request.listed_at),
    )


def _save(photo: _CleanedPhoto, listing: Listing, photo_store: PhotoStore) -> StoredPhoto:
    path = str(photo_store.save(photo.photo_id, photo.data))
    sha256 = hashlib.sha256(photo.data).hexdigest()
    return StoredPhoto(Photo(photo.photo_id, listing, path), sha256, int(time.time()), source_tag(path))


def _is_sent(photo: PutPhoto) -> bool:
    return photo.upload is not None or photo.photo_base64 is not None


def _uris(photos: Iterable[StoredPhoto]) -> set[str]:
    return {stored.photo.uri for stored in photos}

"""Sources -> queries: uploaded photos are decoded and embedded; stored ones are looked up.

The photos of all sources are embedded in one batch, and an invalid source does not affect the others.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from catalog.errors import InvalidQuery, MarketlensError, PhotoUnusable
from catalog.listing import Embeddings, StoredPhoto
from embedding.embedder import Pixels
from search_api.errors import is_callers_fault
from search_api.schemas import Example, Negative, Source
from search_api.search.query import MAX_VECTORS, Kind, Query, rocchio
from search_api.search.sources import positives_of
from search_api.search.tokens import KEY_BYTES, digest, read_query_id
from search_api.serving.live_catalogue import LiveBuild
from search_api.serving.photos import Picture, from_base64, open_part, stored_picture, unreadable_file_error

_AT_ONCE = 4  # examples of one request in the stages, which have room for a limited number of all requests


@dataclass(slots=True)
class _Resolved:
    """An example with its vectors (n, dim) or, until its photo is embedded, its pixels (3, size, size)."""

    weight: float
    key: bytes
    vectors: Embeddings | None = None
    pixels: Pixels | None = None
    own: tuple[str, ...] = ()
    kind: Kind = "photo"
    looks: Embeddings | None = None
    """The photos that tell the category, if they are not the vectors."""
    pictures: tuple[Picture, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class _ResolvedSource:
    positives: list[_Resolved]
    negatives: list[_Resolved]
    combine: bool


class QueryResolver:
    """Resolves the sources of one request with its uploaded photos."""

    def __init__(self, live: LiveBuild, uploads: Sequence[bytes]) -> None:
        self._live = live
        self._uploads = uploads
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def resolve(self, source: Source) -> Query:
        """Resolve a request's only source. Raises InvalidQuery, NotFound, PhotoUnusable and what the stages raise."""
        resolved = await self._read(source, all_uploads=True)
        await self._embed([resolved])
        return _query(resolved)

    async def resolve_many(self, sources: Sequence[Source]) -> list[Query | MarketlensError]:
        """Resolve each source to a query or its error. Raises what is not the caller's fault, such as Milvus down."""
        outcomes = await asyncio.gather(
            *(self._read(source, all_uploads=False) for source in sources), return_exceptions=True
        )
        resolved: list[_ResolvedSource | MarketlensError] = []
        for outcome in outcomes:
            if isinstance(outcome, MarketlensError) and is_callers_fault(outcome):
                resolved.append(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                resolved.append(outcome)
        await self._embed([source for source in resolved if isinstance(source, _ResolvedSource)])
        queries: list[Query | MarketlensError] = []
        for source_or_error in resolved:
            try:
                queries.append(
                    source_or_error if isinstance(source_or_error, MarketlensError) else _query(source_or_error)
                )
            except InvalidQuery as error:
                queries.append(error)
        return queries

    async def image(self, picture: Picture) -> Image.Image:
        """Read a query's photo, cut to its box. Raises NotFound, PhotoUnusable, InvalidQuery."""
        stages = self._live.stages
        if picture.photo_id is None:
            return await stages.decode.run(lambda: open_part(picture.read(), picture.box))
        data = await stages.photos.run(picture.read)
        try:
            return await stages.decode.run(lambda: open_part(data, picture.box))
        except PhotoUnusable as error:
            raise unreadable_file_error(picture.photo_id) from error

    async def _read(self, source: Source, *, all_uploads: bool) -> _ResolvedSource:
        positives = positives_of(source, len(self._uploads), all_uploads=all_uploads)
        examples: list[Example | Negative] = [*positives, *source.negatives]
        resolved = await asyncio.gather(*(self._resolve_example(example) for example in examples))
        count = len(positives)
        combine = bool(source.negatives) or (count > 1 and bool(source.positives or source.text))
        return _ResolvedSource(list(resolved[:count]), list(resolved[count:]), combine)

    async def _embed(self, sources: Sequence[_ResolvedSource]) -> None:
        """Embed all photos of a request in one batch."""
        examples = [example for source in sources for example in (*source.positives, *source.negatives)]
        pixels = [example.pixels for example in examples if example.pixels is not None]
        embedded = iter(await self._live.stages.embed.run(np.stack(pixels)) if pixels else ())
        for example in examples:
            if example.pixels is not None:
                example.vectors = next(embedded)[None]

    async def _resolve_example(self, example: Example | Negative) -> _Resolved:
        async with self._room:
            if example.photo_id is not None:
                return await self._stored_photo(example, example.photo_id)
            if example.listing_id is not None:
                return await self._listing(example, example.listing_id)
            if example.embedding is not None:
                return self._given_vector(example, example.embedding)
            if example.query_id is not None:
                query = read_query_id(example.query_id, self._live.info.fingerprint, self._live.embedder.dim)
                return _Resolved(
                    example.weight, query.key, query.vectors, None, query.own, query.kind, query.looks, text=query.text
                )
            if example.text is not None:
                return self._words(example, example.text)
            if example.photo_base64 is not None:
                read: Callable[[], bytes] = partial(from_base64, example.photo_base64)
            else:
                read = partial(self._uploads.__getitem__, example.upload or 0)
            key, pixels = await self._live.stages.decode.run(partial(self._decode, example, read))
            return _Resolved(example.weight, key, pixels=pixels, pictures=(Picture(read, box=example.box),))

    def _decode(self, example: Example | Negative, read: Callable[[], bytes]) -> tuple[bytes, Pixels]:
        data = read()
        return _key(example, data), self._live.embedder.preprocess(open_part(data, example.box))

    async def _stored_photo(self, example: Example | Negative, photo_id: str) -> _Resolved:
        photos, store = self._live.photos, self._live.stages.store
        whole = example.box is None
        stored, vectors = await store.run(
            lambda: (photos.reader.photo(photo_id), photos.reader.embeddings([photo_id]) if whole else None)
        )
        picture = stored_picture(stored, example.box)
        pixels = None
        if vectors is not None:
            vectors = self._live.embedder.remove_titles(vectors, [stored.photo.listing.title])
        else:
            part = await self.image(picture)
            pixels = await self._live.stages.decode.run(lambda: self._live.embedder.preprocess(part))
        own = (stored.photo.listing.listing_id,)
        return _Resolved(example.weight, _key(example, photo_id), vectors, pixels, own, pictures=(picture,))

    async def _listing(self, example: Example | Negative, listing_id: str) -> _Resolved:
        photos, store = self._live.photos, self._live.stages.store

        def read_listing() -> tuple[list[StoredPhoto], Embeddings]:
            stored = photos.reader.listing_photos(listing_id)[:MAX_VECTORS]
            vectors = photos.reader.embeddings([photo.photo.photo_id for photo in stored])
            return stored, self._live.embedder.remove_titles(vectors, [photo.photo.listing.title for photo in stored])

        stored, vectors = await store.run(read_listing)
        pictures = tuple(stored_picture(photo) for photo in stored)
        return _Resolved(example.weight, _key(example, listing_id), vectors, None, (listing_id,), pictures=pictures)

    def _words(self, example: Example | Negative, text: str) -> _Resolved:
        vectors = self._live.embedder.require_words().embed([text])
        # Words that the tower never saw have no direction: they find nothing.
        found = vectors if vectors.any() else vectors[:0]
        return _Resolved(example.weight, _key(example, text), found, None, (), "words", found[:0], text=text)

    def _given_vector(self, example: Example | Negative, values: Sequence[float]) -> _Resolved:
        dim = self._live.embedder.dim
        if len(values) != dim:
            raise InvalidQuery(f"The embedding has {len(values)} numbers; those of this model have {dim}.")
        vector = np.asarray(values, np.float64)
        with np.errstate(over="ignore"):
            length = float(np.linalg.norm(vector))
        if not 1e-6 < length < 1e30:
            raise InvalidQuery("The embedding has no usable direction: its length is zero or too large.")
        vectors = np.asarray(vector / length, np.float32)[None]
        return _Resolved(example.weight, _key(example, vectors.tobytes()), vectors)


def _query(source: _ResolvedSource) -> Query:
    """Build the query of a resolved source. Raises InvalidQuery."""
    examples = [*source.positives, *source.negatives]
    assert all(example.vectors is not None for example in examples)  # noqa: S101 - `_embed` sets them
    # dict.fromkeys, because a set has no order.
    own = tuple(dict.fromkeys(listing_id for example in examples for listing_id in example.own))
    keys = [example.key for example in examples]
    looks = _stack(example.vectors if example.looks is None else example.looks for example in source.positives)
    text = " ".join(dict.fromkeys(example.text for example in source.positives if example.text))
    if not source.combine:
        pictures = tuple(picture for example in examples for picture in example.pictures)
        key = keys[0] if len(keys) == 1 else digest(*keys)[:KEY_BYTES]
        return Query(_stack(example.vectors for example in examples), key, examples[0].kind, looks, own, pictures, text)
    weights = [[example.weight for example in part] for part in (source.positives, source.negatives)]
    key = digest(*keys, repr(weights))[:KEY_BYTES]
    # One vector and the weight per example; `_embed` has set the vectors of every example. Unknown words have none.
    positives, negatives = (
        [
            (example.vectors.mean(axis=0), example.weight)
            for example in part
            if example.vectors is not None and len(example.vectors)
        ]
        for part in (source.positives, source.negatives)
    )
    if not positives:
        return Query(looks[:0], key, "examples", looks[:0], own, text=text)
    return Query(rocchio(positives, negatives)[None], key, "examples", looks, own, text=text)


def _stack(parts: Iterable[Embeddings | None]) -> Embeddings:
    return np.concatenate([vectors for vectors in parts if vectors is not None])


def _key(example: Example | Negative, value: str | bytes) -> bytes:
    """Hash an example so that equal examples have equal keys; a photo counts by its bytes, however it was sent."""
    kinds = ("photo_id", "listing_id", "text")
    kind = next((kind for kind in kinds if getattr(example, kind) is not None), "sent")
    box = example.box.model_dump_json() if example.box else ""
    return digest(kind, value, box)[:KEY_BYTES]

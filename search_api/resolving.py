"""Sources -> queries: photos are read, decoded and embedded, the catalogue's are looked up.

Many at once: their photos are embedded together, and one that is wrong does not spoil the others.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from PIL import Image

from catalog.errors import InvalidQuery, MarketlensError, PhotoUnusable
from catalog.index import Embeddings
from catalog.listing import StoredPhoto
from embedding.embedder import Pixels
from search_api.errors import is_callers_fault
from search_api.examples import positives_of
from search_api.live import Live
from search_api.pictures import from_base64, gone, open_part, stored_picture
from search_api.query import MAX_VECTORS, Picture, Query, rocchio
from search_api.schemas import Example, Negative, Source
from search_api.tokens import KEY_BYTES, digest, read_query_id

# Of one request: a stage takes so many and refuses more, and others want their turn.
_AT_ONCE = 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Found:
    """An example with its vectors (n, dim), or with the pixels (3, size, size) that one is made of."""

    weight: float
    key: bytes
    vectors: Embeddings | None = None
    pixels: Pixels | None = None
    own: tuple[str, ...] = ()
    combined: bool = False
    pictures: tuple[Picture, ...] = ()


_Complete = tuple[_Found, Embeddings]


@dataclass(frozen=True, slots=True)
class _Asked:
    positives: list[_Found]
    negatives: list[_Found]
    combine: bool


class Resolver:
    """Reads the sources of one request, with the photos that came along."""

    def __init__(self, live: Live, uploads: Sequence[bytes]) -> None:
        self._live = live
        self._uploads = uploads
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def one(self, source: Source) -> Query:
        """The query of a request's only source. Raises InvalidQuery, NotFound, PhotoUnusable and what stages raise."""
        (query,) = await self._embed([await self._ask(source, all_uploads=True)])
        if isinstance(query, MarketlensError):
            raise query
        return query

    async def several(self, sources: Sequence[Source]) -> list[Query | MarketlensError]:
        """A query for each, or what is wrong with it. Raises what is not the caller's fault, such as Milvus away."""
        outcomes = await asyncio.gather(
            *(self._ask(source, all_uploads=False) for source in sources), return_exceptions=True
        )
        wrong: dict[int, MarketlensError] = {}
        asked: list[_Asked] = []
        for place, outcome in enumerate(outcomes):
            if isinstance(outcome, MarketlensError) and is_callers_fault(outcome):
                wrong[place] = outcome
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                asked.append(outcome)
        queries = iter(await self._embed(asked))
        return [wrong.get(place) or next(queries) for place in range(len(sources))]

    async def image(self, picture: Picture) -> Image.Image:
        """The photo of a query, or the part of it that was asked for. Raises NotFound, PhotoUnusable, InvalidQuery."""
        stages = self._live.stages
        if picture.photo_id is None:
            return await stages.decode.run(lambda: open_part(picture.read(), picture.box))
        data = await stages.photos.run(picture.read)
        try:
            return await stages.decode.run(lambda: open_part(data, picture.box))
        except PhotoUnusable as error:
            raise gone(picture.photo_id) from error

    async def _embed(self, asked: Sequence[_Asked]) -> list[Query | InvalidQuery]:
        """The one place where the photos of a request are embedded, all together."""
        pixels = [one.pixels for each in asked for one in (*each.positives, *each.negatives) if one.pixels is not None]
        embedded = iter(await self._live.stages.embed.run(np.stack(pixels)) if pixels else ())
        queries: list[Query | InvalidQuery] = []
        for each in asked:
            positives, negatives = (_completed(examples, embedded) for examples in (each.positives, each.negatives))
            try:
                queries.append(_query(positives, negatives, combine=each.combine))
            except InvalidQuery as error:
                queries.append(error)
        return queries

    async def _ask(self, source: Source, *, all_uploads: bool) -> _Asked:
        positives = positives_of(source, len(self._uploads), all_uploads=all_uploads)
        examples: list[Example | Negative] = [*positives, *source.negatives]
        found = await asyncio.gather(*(self._find(example) for example in examples))
        count = len(positives)
        return _Asked(
            list(found[:count]),
            list(found[count:]),
            combine=bool(source.negatives) or bool(source.positives and count > 1),
        )

    async def _find(self, example: Example | Negative) -> _Found:
        async with self._room:
            if example.photo_id is not None:
                return await self._stored_photo(example, example.photo_id)
            if example.listing_id is not None:
                return await self._listing(example, example.listing_id)
            if example.embedding is not None:
                return self._given(example, example.embedding)
            if example.query_id is not None:
                query = read_query_id(example.query_id, self._live.info.fingerprint, self._live.embedder.dim)
                return _Found(example.weight, query.key, query.vectors, None, query.own, query.combined)
            if example.photo_base64 is not None:
                read: Callable[[], bytes] = partial(from_base64, example.photo_base64)
            else:
                read = partial(self._uploads.__getitem__, example.upload or 0)
            return await self._sent(example, read)

    async def _sent(self, example: Example | Negative, read: Callable[[], bytes]) -> _Found:
        picture = Picture(read, box=example.box)

        def decode() -> tuple[bytes, Pixels]:
            data = read()
            return _key(example, data), self._live.embedder.preprocess(open_part(data, example.box))

        key, pixels = await self._live.stages.decode.run(decode)
        return _Found(example.weight, key, pixels=pixels, pictures=(picture,))

    async def _stored_photo(self, example: Example | Negative, photo_id: str) -> _Found:
        photos, store = self._live.photos, self._live.stages.store
        whole = example.box is None
        stored, vectors = await store.run(
            lambda: (photos.photo(photo_id), photos.embeddings([photo_id]) if whole else None)
        )
        picture = stored_picture(stored, example.box)
        pixels = None
        if not whole:
            part = await self.image(picture)
            pixels = await self._live.stages.decode.run(lambda: self._live.embedder.preprocess(part))
        own = (stored.photo.listing.listing_id,)
        return _Found(example.weight, _key(example, photo_id), vectors, pixels, own, pictures=(picture,))

    async def _listing(self, example: Example | Negative, listing_id: str) -> _Found:
        photos, store = self._live.photos, self._live.stages.store

        def look() -> tuple[list[StoredPhoto], Embeddings]:
            stored = photos.listing_photos(listing_id)[:MAX_VECTORS]
            return stored, photos.embeddings([one.photo.photo_id for one in stored])

        stored, vectors = await store.run(look)
        pictures = tuple(stored_picture(one) for one in stored)
        return _Found(example.weight, _key(example, listing_id), vectors, None, (listing_id,), pictures=pictures)

    def _given(self, example: Example | Negative, values: Sequence[float]) -> _Found:
        dim = self._live.embedder.dim
        if len(values) != dim:
            raise InvalidQuery(f"The embedding has {len(values)} numbers; those of this model have {dim}.")
        vector = np.asarray(values, np.float64)
        with np.errstate(over="ignore"):
            length = float(np.linalg.norm(vector))
        if not 1e-6 < length < 1e30:
            raise InvalidQuery("The embedding has no direction that could be searched for: it is zero, or immense.")
        vectors = np.asarray(vector / length, np.float32)[None]
        return _Found(example.weight, _key(example, vectors.tobytes()), vectors)


def _completed(examples: Sequence[_Found], embedded: Iterator[Embeddings]) -> list[_Complete]:
    """Each example with its vectors; what was made of pixels comes from `embedded`, in order."""
    return [(one, next(embedded)[None] if one.vectors is None else one.vectors) for one in examples]


def _query(positives: Sequence[_Complete], negatives: Sequence[_Complete], *, combine: bool) -> Query:
    """Put a query together. Raises InvalidQuery."""
    every = [one for one, _ in (*positives, *negatives)]
    # A set has no order that lasts; a dict has.
    own = tuple(dict.fromkeys(listing_id for one in every for listing_id in one.own))
    if not combine:
        vectors = np.concatenate([vectors for _, vectors in positives])
        pictures = tuple(picture for one in every for picture in one.pictures)
        key = every[0].key if len(every) == 1 else digest(*(one.key for one in every))[:KEY_BYTES]
        return Query(vectors, key, own, every[0].combined, pictures)
    weights = [(one.weight for one, _ in positives), (one.weight for one, _ in negatives)]
    key = digest(*(one.key for one in every), repr([list(signed) for signed in weights]))[:KEY_BYTES]
    vector = rocchio(_weighed(positives), _weighed(negatives))
    return Query(vector[None], key, own, combined=True)


def _weighed(examples: Sequence[_Complete]) -> list[tuple[Embeddings, float]]:
    return [(vectors.mean(axis=0), one.weight) for one, vectors in examples]


def _key(example: Example | Negative, value: str | bytes) -> bytes:
    """Bytes that are the same whenever the same is asked by; a photo counts by its bytes, however it was sent."""
    kind = "photo_id" if example.photo_id else "listing_id" if example.listing_id else "sent"
    box = example.box.model_dump_json() if example.box else ""
    return digest(kind, value, box)[:KEY_BYTES]

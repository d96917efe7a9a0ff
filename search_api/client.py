"""The API from Python: typed requests and answers, sync (`Client`) and async (`AsyncClient`).

with Client("http://127.0.0.1:8080", key="…") as api:
answer = api.search(SearchRequest(limit=5), photos=[Path("sofa.jpg").read_bytes()])
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Self

import httpx
from tenacity import AsyncRetrying, Retrying, retry_if_exception, stop_after_attempt

from search_api import schemas
from search_api.calls import (
    MAP_SECONDS,
    Answer,
    ApiError,
    Call,
    Photos,
    batch,
    listing_path,
    may_try_again,
    next_page,
    no_answer,
    pause,
    post,
    read,
    similar,
)

__all__ = ["ApiError", "AsyncClient", "Client"]

ANSWER_SECONDS = 30.0
TRIES = 3

_FAILURES = (httpx.HTTPError, httpx.InvalidURL)


class _Address:
    """Where the API is, and how to prove who asks."""

    def __init__(self, url: str, key: str, seconds: float) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout = httpx.Timeout(seconds, connect=min(5.0, seconds))

    def photo_address(self, photo_url: str, size: int) -> str:
        """Address from which a browser loads a photo, `size` pixels on its longer side."""
        return str(httpx.URL(self.url + photo_url).copy_merge_params({"size": size}))


class Client(_Address):
    """One API, at one address. Safe for threads. Every method raises ApiError.

    What the API is too busy for (503, or 429 where a key has asked too often) is asked again after as long as it says.
    """

    def __init__(self, url: str, key: str = "", seconds: float = ANSWER_SECONDS, tries: int = TRIES) -> None:
        """`key` where the API has keys; `seconds` to wait for an answer."""
        super().__init__(url, key, seconds)
        self._http = httpx.Client(headers=self._headers, timeout=self._timeout)
        self._retrying = Retrying(
            retry=retry_if_exception(may_try_again), wait=pause, stop=stop_after_attempt(tries), reraise=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def ready(self) -> schemas.Health:
        """Say which collection answers, or raise why none does."""
        return self._ask(Call(schemas.Health, "GET", "/readyz"))

    def search(self, request: schemas.SearchRequest, photos: Photos = ()) -> schemas.SearchResponse:
        """Search by the request's source, or by photos sent along."""
        return self._ask(post(schemas.SearchResponse, "/v1/search", request, photos))

    def pages(self, request: schemas.SearchRequest, photos: Photos = ()) -> Iterator[schemas.SearchResponse]:
        """The answer and those after it, page by page; photos are sent once."""
        following: schemas.SearchRequest | None = request
        while following:
            answer = self.search(following, photos)
            yield answer
            following, photos = next_page(request, answer), ()

    def search_batch(self, searches: Sequence[schemas.SearchRequest], photos: Photos = ()) -> list[schemas.BatchAnswer]:
        """Up to 64 searches at once; each names its photos: `uploads=[0]`."""
        return self._ask(batch(searches, photos)).answers

    def similar(self, listing_id: str, limit: int = 20, cursor: str | None = None) -> schemas.SearchResponse:
        """Listings like this one."""
        return self._ask(similar(listing_id, limit, cursor))

    def classify(self, request: schemas.ClassifyRequest, photos: Photos = ()) -> schemas.ClassifyResponse:
        """Name the category of what a photo shows."""
        return self._ask(post(schemas.ClassifyResponse, "/v1/classify", request, photos))

    def embed(self, request: schemas.EmbedRequest, photos: Photos = ()) -> schemas.EmbedResponse:
        """Give the embeddings of photos."""
        return self._ask(post(schemas.EmbedResponse, "/v1/embed", request, photos))

    def explain(self, request: schemas.ExplainRequest, photos: Photos = ()) -> schemas.ExplainResponse:
        """Show what made a photo match."""
        return self._ask(post(schemas.ExplainResponse, "/v1/explain", request, photos))

    def listing(self, listing_id: str) -> schemas.ListingResponse:
        """One listing with all its photos."""
        return self._ask(Call(schemas.ListingResponse, "GET", listing_path(listing_id)))

    def put_listing(self, listing_id: str, listing: schemas.PutListing, photos: Photos = ()) -> schemas.ListingResponse:
        """Make a listing, or make it as it is said here."""
        path = listing_path(listing_id)
        return self._ask(post(schemas.ListingResponse, path, listing, photos, method="PUT", part="listing"))

    def remove_listing(self, listing_id: str) -> schemas.RemovedResponse:
        """Take a listing out of the catalogue."""
        return self._ask(Call(schemas.RemovedResponse, "DELETE", listing_path(listing_id)))

    def categories(self) -> schemas.CategoriesResponse:
        """Every category with its counts."""
        return self._ask(Call(schemas.CategoriesResponse, "GET", "/v1/categories"))

    def map(self) -> schemas.MapResponse:
        """Fetch the 2-D map of the photos."""
        return self._ask(Call(schemas.MapResponse, "GET", "/v1/map", {"timeout": MAP_SECONDS}))

    def _ask(self, call: Call[Answer]) -> Answer:
        answer: Answer = self._retrying(self._once, call)
        return answer

    def _once(self, call: Call[Answer]) -> Answer:
        try:
            response = self._http.request(call.method, self.url + call.path, **call.options)
        except _FAILURES as error:
            raise no_answer(self.url, error) from error
        return read(call, self.url, response)


class AsyncClient(_Address):
    """`Client`, for asyncio."""

    def __init__(self, url: str, key: str = "", seconds: float = ANSWER_SECONDS, tries: int = TRIES) -> None:
        """`key` where the API has keys; `seconds` to wait for an answer."""
        super().__init__(url, key, seconds)
        self._http = httpx.AsyncClient(headers=self._headers, timeout=self._timeout)
        self._retrying = AsyncRetrying(
            retry=retry_if_exception(may_try_again), wait=pause, stop=stop_after_attempt(tries), reraise=True
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def ready(self) -> schemas.Health:
        """Say which collection answers, or raise why none does."""
        return await self._ask(Call(schemas.Health, "GET", "/readyz"))

    async def search(self, request: schemas.SearchRequest, photos: Photos = ()) -> schemas.SearchResponse:
        """Search by the request's source, or by photos sent along."""
        return await self._ask(post(schemas.SearchResponse, "/v1/search", request, photos))

    async def pages(self, request: schemas.SearchRequest, photos: Photos = ()) -> AsyncIterator[schemas.SearchResponse]:
        """The answer and those after it, page by page; photos are sent once."""
        following: schemas.SearchRequest | None = request
        while following:
            answer = await self.search(following, photos)
            yield answer
            following, photos = next_page(request, answer), ()

    async def search_batch(
        self, searches: Sequence[schemas.SearchRequest], photos: Photos = ()
    ) -> list[schemas.BatchAnswer]:
        """Up to 64 searches at once; each names its photos: `uploads=[0]`."""
        return (await self._ask(batch(searches, photos))).answers

    async def similar(self, listing_id: str, limit: int = 20, cursor: str | None = None) -> schemas.SearchResponse:
        """Listings like this one."""
        return await self._ask(similar(listing_id, limit, cursor))

    async def classify(self, request: schemas.ClassifyRequest, photos: Photos = ()) -> schemas.ClassifyResponse:
        """Name the category of what a photo shows."""
        return await self._ask(post(schemas.ClassifyResponse, "/v1/classify", request, photos))

    async def embed(self, request: schemas.EmbedRequest, photos: Photos = ()) -> schemas.EmbedResponse:
        """Give the embeddings of photos."""
        return await self._ask(post(schemas.EmbedResponse, "/v1/embed", request, photos))

    async def explain(self, request: schemas.ExplainRequest, photos: Photos = ()) -> schemas.ExplainResponse:
        """Show what made a photo match."""
        return await self._ask(post(schemas.ExplainResponse, "/v1/explain", request, photos))

    async def listing(self, listing_id: str) -> schemas.ListingResponse:
        """One listing with all its photos."""
        return await self._ask(Call(schemas.ListingResponse, "GET", listing_path(listing_id)))

    async def put_listing(
        self, listing_id: str, listing: schemas.PutListing, photos: Photos = ()
    ) -> schemas.ListingResponse:
        """Make a listing, or make it as it is said here."""
        path = listing_path(listing_id)
        return await self._ask(post(schemas.ListingResponse, path, listing, photos, method="PUT", part="listing"))

    async def remove_listing(self, listing_id: str) -> schemas.RemovedResponse:
        """Take a listing out of the catalogue."""
        return await self._ask(Call(schemas.RemovedResponse, "DELETE", listing_path(listing_id)))

    async def categories(self) -> schemas.CategoriesResponse:
        """Every category with its counts."""
        return await self._ask(Call(schemas.CategoriesResponse, "GET", "/v1/categories"))

    async def map(self) -> schemas.MapResponse:
        """Fetch the 2-D map of the photos."""
        return await self._ask(Call(schemas.MapResponse, "GET", "/v1/map", {"timeout": MAP_SECONDS}))

    async def _ask(self, call: Call[Answer]) -> Answer:
        return await self._retrying(self._once, call)

    async def _once(self, call: Call[Answer]) -> Answer:
        try:
            response = await self._http.request(call.method, self.url + call.path, **call.options)
        except _FAILURES as error:
            raise no_answer(self.url, error) from error
        return read(call, self.url, response)

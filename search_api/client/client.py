"""The API from Python: typed requests and answers, sync (`Client`) and async (`AsyncClient`).

with Client("http://127.0.0.1:8080", key="…") as api:
answer = api.search(SearchRequest(limit=5), photos=[Path("sofa.jpg").read_bytes()])
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Self
from urllib.parse import quote

import httpx
from tenacity import AsyncRetrying, Retrying, retry_if_exception, stop_after_attempt

from search_api import schemas
from search_api.client.calls import (
    Answer,
    ApiError,
    Call,
    Photos,
    batch,
    content,
    decide,
    get,
    listing_path,
    may_try_again,
    next_page,
    no_answer,
    pause,
    plot_path,
    post,
    read,
    similar,
)

__all__ = ["ApiError", "AsyncClient", "Client"]

ANSWER_SECONDS = 30.0
TRIES = 3
MAP_PHOTOS = 50_000
# Before a promotion, every photo of a build is compared with the live collection's.
PATIENT = {"timeout": 600.0}

_FAILURES = (httpx.HTTPError, httpx.InvalidURL)


class _Address:
    """Where the API is, and how to prove who asks."""

    def __init__(self, url: str, key: str, seconds: float, public_url: str) -> None:
        self.url = url.rstrip("/")
        self.public_url = public_url.rstrip("/") or self.url
        # httpx takes a text for ASCII; what else was typed for a key is for the API to refuse.
        self._headers = httpx.Headers({"Authorization": f"Bearer {key}"} if key else {}, encoding="utf-8")
        self._timeout = httpx.Timeout(seconds, connect=min(5.0, seconds))

    def photo_address(self, photo_url: str, size: int) -> str:
        """Address from which a browser loads a photo, `size` pixels on its longer side."""
        return str(httpx.URL(self.public_url + photo_url).copy_merge_params({"size": size}))


class Client(_Address):
    """One API, at one address. Safe for threads. Every method raises ApiError.

    What the API is too busy for (503, or 429 where a key has asked too often) is asked again after as long as it says.
    """

    def __init__(
        self, url: str, key: str = "", seconds: float = ANSWER_SECONDS, tries: int = TRIES, public_url: str = ""
    ) -> None:
        """`key` where the API has keys; `seconds` to wait for an answer; `public_url`: where browsers reach it."""
        super().__init__(url, key, seconds, public_url)
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

    def insights(self) -> schemas.InsightsResponse:
        """The collection as a whole, as `marketlens insights` found it."""
        return self._ask(get(schemas.InsightsResponse, "/v1/insights"))

    def map(self, limit: int = MAP_PHOTOS) -> schemas.MapResponse:
        """The 2-D map of the photos."""
        return self._ask(get(schemas.MapResponse, "/v1/map", limit=limit))

    def confusion(self) -> schemas.ConfusionResponse:
        """Photos by the seller's category and the model's."""
        return self._ask(get(schemas.ConfusionResponse, "/v1/insights/confusion"))

    def insight_photos(
        self,
        category: str | None = None,
        predicted: str | None = None,
        outliers: bool = False,
        after: int | None = None,
        limit: int = 50,
    ) -> schemas.PhotosResponse:
        """Photos of a category, of a cell of the confusion matrix, or outliers."""
        return self._ask(
            get(
                schemas.PhotosResponse,
                "/v1/insights/photos",
                category=category,
                predicted=predicted,
                outliers=outliers,
                after=after,
                limit=limit,
            )
        )

    def suggestions(
        self,
        category: str | None = None,
        suggested: str | None = None,
        after: int | None = None,
        limit: int = 20,
        skipped: bool = False,
    ) -> schemas.SuggestionsResponse:
        """Wrong categories suspected, on which nobody has decided."""
        return self._ask(
            get(
                schemas.SuggestionsResponse,
                "/v1/insights/suggestions",
                category=category,
                suggested=suggested,
                after=after,
                limit=limit,
                skipped=skipped,
            )
        )

    def duplicates(
        self,
        kind: schemas.DuplicateKind | None = None,
        after: int | None = None,
        limit: int = 20,
        skipped: bool = False,
    ) -> schemas.DuplicatesResponse:
        """Groups of listings that show the same, on which nobody has decided."""
        return self._ask(
            get(
                schemas.DuplicatesResponse,
                "/v1/insights/duplicates",
                kind=kind,
                after=after,
                limit=limit,
                skipped=skipped,
            )
        )

    def whoami(self) -> schemas.Caller:
        """Say who asks, and whether a key is needed."""
        return self._ask(get(schemas.Caller, "/v1/whoami"))

    def decide(self, put: schemas.PutVerdict) -> schemas.Verdict:
        """Keep a decision, in the place of any other on the same question."""
        return self._ask(decide(put))

    def withdraw(self, verdict_id: int) -> schemas.Verdict:
        """Take a verdict back; its question is asked again."""
        return self._ask(Call(schemas.Verdict, "DELETE", f"/v1/verdicts/{verdict_id}"))

    def verdicts(
        self,
        kind: schemas.Kind | None = None,
        decision: schemas.Decision | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> schemas.VerdictsResponse:
        """Verdicts, newest first."""
        return self._ask(
            get(schemas.VerdictsResponse, "/v1/verdicts", kind=kind, decision=decision, before=before, limit=limit)
        )

    def builds(self) -> schemas.BuildsResponse:
        """Every build of the catalogue."""
        return self._ask(get(schemas.BuildsResponse, "/v1/builds"))

    def promote(self, name: str) -> schemas.BuildsResponse:
        """Make a build the live one."""
        return self._ask(Call(schemas.BuildsResponse, "POST", f"/v1/builds/{quote(name, safe='')}/promote", PATIENT))

    def rollback(self) -> schemas.BuildsResponse:
        """Make the build live that was so before."""
        return self._ask(Call(schemas.BuildsResponse, "POST", "/v1/builds/rollback"))

    def runs(self, limit: int = 20) -> schemas.RunsResponse:
        """Ingest runs, newest first."""
        return self._ask(get(schemas.RunsResponse, "/v1/runs", limit=limit))

    def rejected(self, run_id: str, after: int = 0, limit: int = 100) -> schemas.RejectedResponse:
        """Rows that a run could not use."""
        path = f"/v1/runs/{quote(run_id, safe='')}/rejected"
        return self._ask(get(schemas.RejectedResponse, path, after=after, limit=limit))

    def activity(self) -> schemas.ActivityResponse:
        """What the service did in the last hours."""
        return self._ask(get(schemas.ActivityResponse, "/v1/activity"))

    def models(self) -> schemas.ModelsResponse:
        """The models of the builds."""
        return self._ask(get(schemas.ModelsResponse, "/v1/models"))

    def plot(self, model_fingerprint: str, name: str) -> bytes:
        """A picture of a model, as PNG."""
        return self._retrying(self._bytes, plot_path(model_fingerprint, name))

    def _ask(self, call: Call[Answer]) -> Answer:
        answer: Answer = self._retrying(self._once, call)
        return answer

    def _once(self, call: Call[Answer]) -> Answer:
        return read(call, self.url, self._answered(call.method, call.path, **call.options))

    def _bytes(self, path: str) -> bytes:
        return content(self.url, self._answered("GET", path))

    def _answered(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, self.url + path, **options)
        except _FAILURES as error:
            raise no_answer(self.url, error) from error


class AsyncClient(_Address):
    """`Client`, for asyncio."""

    def __init__(
        self, url: str, key: str = "", seconds: float = ANSWER_SECONDS, tries: int = TRIES, public_url: str = ""
    ) -> None:
        """`key` where the API has keys; `seconds` to wait for an answer; `public_url`: where browsers reach it."""
        super().__init__(url, key, seconds, public_url)
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

    async def insights(self) -> schemas.InsightsResponse:
        """The collection as a whole, as `marketlens insights` found it."""
        return await self._ask(get(schemas.InsightsResponse, "/v1/insights"))

    async def map(self, limit: int = MAP_PHOTOS) -> schemas.MapResponse:
        """The 2-D map of the photos."""
        return await self._ask(get(schemas.MapResponse, "/v1/map", limit=limit))

    async def confusion(self) -> schemas.ConfusionResponse:
        """Photos by the seller's category and the model's."""
        return await self._ask(get(schemas.ConfusionResponse, "/v1/insights/confusion"))

    async def insight_photos(
        self,
        category: str | None = None,
        predicted: str | None = None,
        outliers: bool = False,
        after: int | None = None,
        limit: int = 50,
    ) -> schemas.PhotosResponse:
        """Photos of a category, of a cell of the confusion matrix, or outliers."""
        return await self._ask(
            get(
                schemas.PhotosResponse,
                "/v1/insights/photos",
                category=category,
                predicted=predicted,
                outliers=outliers,
                after=after,
                limit=limit,
            )
        )

    async def suggestions(
        self,
        category: str | None = None,
        suggested: str | None = None,
        after: int | None = None,
        limit: int = 20,
        skipped: bool = False,
    ) -> schemas.SuggestionsResponse:
        """Wrong categories suspected, on which nobody has decided."""
        return await self._ask(
            get(
                schemas.SuggestionsResponse,
                "/v1/insights/suggestions",
                category=category,
                suggested=suggested,
                after=after,
                limit=limit,
                skipped=skipped,
            )
        )

    async def duplicates(
        self,
        kind: schemas.DuplicateKind | None = None,
        after: int | None = None,
        limit: int = 20,
        skipped: bool = False,
    ) -> schemas.DuplicatesResponse:
        """Groups of listings that show the same, on which nobody has decided."""
        return await self._ask(
            get(
                schemas.DuplicatesResponse,
                "/v1/insights/duplicates",
                kind=kind,
                after=after,
                limit=limit,
                skipped=skipped,
            )
        )

    async def whoami(self) -> schemas.Caller:
        """Say who asks, and whether a key is needed."""
        return await self._ask(get(schemas.Caller, "/v1/whoami"))

    async def decide(self, put: schemas.PutVerdict) -> schemas.Verdict:
        """Keep a decision, in the place of any other on the same question."""
        return await self._ask(decide(put))

    async def withdraw(self, verdict_id: int) -> schemas.Verdict:
        """Take a verdict back; its question is asked again."""
        return await self._ask(Call(schemas.Verdict, "DELETE", f"/v1/verdicts/{verdict_id}"))

    async def verdicts(
        self,
        kind: schemas.Kind | None = None,
        decision: schemas.Decision | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> schemas.VerdictsResponse:
        """Verdicts, newest first."""
        return await self._ask(
            get(schemas.VerdictsResponse, "/v1/verdicts", kind=kind, decision=decision, before=before, limit=limit)
        )

    async def builds(self) -> schemas.BuildsResponse:
        """Every build of the catalogue."""
        return await self._ask(get(schemas.BuildsResponse, "/v1/builds"))

    async def promote(self, name: str) -> schemas.BuildsResponse:
        """Make a build the live one."""
        return await self._ask(
            Call(schemas.BuildsResponse, "POST", f"/v1/builds/{quote(name, safe='')}/promote", PATIENT)
        )

    async def rollback(self) -> schemas.BuildsResponse:
        """Make the build live that was so before."""
        return await self._ask(Call(schemas.BuildsResponse, "POST", "/v1/builds/rollback"))

    async def runs(self, limit: int = 20) -> schemas.RunsResponse:
        """Ingest runs, newest first."""
        return await self._ask(get(schemas.RunsResponse, "/v1/runs", limit=limit))

    async def rejected(self, run_id: str, after: int = 0, limit: int = 100) -> schemas.RejectedResponse:
        """Rows that a run could not use."""
        path = f"/v1/runs/{quote(run_id, safe='')}/rejected"
        return await self._ask(get(schemas.RejectedResponse, path, after=after, limit=limit))

    async def activity(self) -> schemas.ActivityResponse:
        """What the service did in the last hours."""
        return await self._ask(get(schemas.ActivityResponse, "/v1/activity"))

    async def models(self) -> schemas.ModelsResponse:
        """The models of the builds."""
        return await self._ask(get(schemas.ModelsResponse, "/v1/models"))

    async def plot(self, model_fingerprint: str, name: str) -> bytes:
        """A picture of a model, as PNG."""
        return await self._retrying(self._bytes, plot_path(model_fingerprint, name))

    async def _ask(self, call: Call[Answer]) -> Answer:
        return await self._retrying(self._once, call)

    async def _once(self, call: Call[Answer]) -> Answer:
        return read(call, self.url, await self._answered(call.method, call.path, **call.options))

    async def _bytes(self, path: str) -> bytes:
        return content(self.url, await self._answered("GET", path))

    async def _answered(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return await self._http.request(method, self.url + path, **options)
        except _FAILURES as error:
            raise no_answer(self.url, error) from error

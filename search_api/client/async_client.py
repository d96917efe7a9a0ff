"""The asynchronous client. `make client` generates client.py, the synchronous one, from this file."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Self
from urllib.parse import quote

import httpx
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt

from search_api import schemas
from search_api.client.address import ANSWER_SECONDS, ApiAddress
from search_api.client.calls import (
    Answer,
    Call,
    Photos,
    batch,
    decide,
    get,
    is_retryable,
    listing_path,
    next_page,
    no_response,
    plot_path,
    post,
    read_answer,
    read_bytes,
    retry_delay,
    similar,
)

TRIES = 3
MAP_PHOTOS = 50_000
# A promotion first compares every photo of the build with the live collection.
PATIENT = {"timeout": 600.0}

_FAILURES = (httpx.HTTPError, httpx.InvalidURL)


class AsyncClient(ApiAddress):
    """A client of the API at one address. Every method raises ApiError.

    If the API is too busy (503) or a key is over its rate limit (429), requests are retried after the time in
    Retry-After.
    """

    def __init__(
        self, url: str, key: str = "", seconds: float = ANSWER_SECONDS, tries: int = TRIES, public_url: str = ""
    ) -> None:
        """`key` is needed if the API has keys; `seconds` limits each wait; `public_url` is the URL for browsers."""
        super().__init__(url, key, seconds, public_url)
        self._http = httpx.AsyncClient(headers=self._headers, timeout=self._timeout)
        self._retrying = AsyncRetrying(
            retry=retry_if_exception(is_retryable), wait=retry_delay, stop=stop_after_attempt(tries), reraise=True
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ready(self) -> schemas.Health:
        """Return which collection is searched; raise ApiError if none is ready."""
        return await self._ask(Call(schemas.Health, "GET", "/readyz"))

    async def search(self, request: schemas.SearchRequest, photos: Photos = ()) -> schemas.SearchResponse:
        """Search by the source in the request, or by uploaded photos."""
        return await self._ask(post(schemas.SearchResponse, "/v1/search", request, photos))

    async def pages(self, request: schemas.SearchRequest, photos: Photos = ()) -> AsyncIterator[schemas.SearchResponse]:
        """Yield the response and all following pages; photos are sent once."""
        page_request: schemas.SearchRequest | None = request
        while page_request:
            answer = await self.search(page_request, photos)
            yield answer
            page_request, photos = next_page(request, answer), ()

    async def search_batch(
        self, searches: Sequence[schemas.SearchRequest], photos: Photos = ()
    ) -> list[schemas.BatchAnswer]:
        """Run up to 64 searches at once; each refers to its photos by number: `uploads=[0]`."""
        response = await self._ask(batch(searches, photos))
        return response.answers

    async def similar(self, listing_id: str, limit: int = 20, cursor: str | None = None) -> schemas.SearchResponse:
        """Find listings similar to this one."""
        return await self._ask(similar(listing_id, limit, cursor))

    async def classify(self, request: schemas.ClassifyRequest, photos: Photos = ()) -> schemas.ClassifyResponse:
        """Classify what a photo shows."""
        return await self._ask(post(schemas.ClassifyResponse, "/v1/classify", request, photos))

    async def embed(self, request: schemas.EmbedRequest, photos: Photos = ()) -> schemas.EmbedResponse:
        """Return the embeddings of photos."""
        return await self._ask(post(schemas.EmbedResponse, "/v1/embed", request, photos))

    async def explain(self, request: schemas.ExplainRequest, photos: Photos = ()) -> schemas.ExplainResponse:
        """Return heat maps that show why a photo matched."""
        return await self._ask(post(schemas.ExplainResponse, "/v1/explain", request, photos))

    async def listing(self, listing_id: str) -> schemas.ListingResponse:
        """Return a listing with all its photos."""
        return await self._ask(Call(schemas.ListingResponse, "GET", listing_path(listing_id)))

    async def put_listing(
        self, listing_id: str, listing: schemas.PutListing, photos: Photos = ()
    ) -> schemas.ListingResponse:
        """Create or replace a listing."""
        path = listing_path(listing_id)
        return await self._ask(post(schemas.ListingResponse, path, listing, photos, method="PUT", part="listing"))

    async def remove_listing(self, listing_id: str) -> schemas.RemovedResponse:
        """Remove a listing from the catalogue."""
        return await self._ask(Call(schemas.RemovedResponse, "DELETE", listing_path(listing_id)))

    async def categories(self) -> schemas.CategoriesResponse:
        """Return every category with its counts."""
        return await self._ask(Call(schemas.CategoriesResponse, "GET", "/v1/categories"))

    async def insights(self) -> schemas.InsightsResponse:
        """Return what `marketlens insights` found in the collection as a whole."""
        return await self._ask(get(schemas.InsightsResponse, "/v1/insights"))

    async def map(self, limit: int = MAP_PHOTOS) -> schemas.MapResponse:
        """Return the 2-D map of the photos."""
        return await self._ask(get(schemas.MapResponse, "/v1/map", limit=limit))

    async def confusion(self) -> schemas.ConfusionResponse:
        """Count photos by the seller's category and the model's."""
        return await self._ask(get(schemas.ConfusionResponse, "/v1/insights/confusion"))

    async def insight_photos(
        self,
        category: str | None = None,
        predicted: str | None = None,
        outliers: bool = False,
        after: int | None = None,
        limit: int = 50,
    ) -> schemas.PhotosResponse:
        """List photos of a category, of a cell of the confusion matrix, or outliers."""
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
        """List suspected wrong categories that nobody has decided on."""
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
        """List groups of duplicate listings that nobody has decided on."""
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
        """Return the name and scope of the caller, and whether the API needs a key."""
        return await self._ask(get(schemas.Caller, "/v1/whoami"))

    async def decide(self, put: schemas.PutVerdict) -> schemas.Verdict:
        """Save a decision; it replaces an earlier one on the same question."""
        return await self._ask(decide(put))

    async def withdraw(self, verdict_id: int) -> schemas.Verdict:
        """Withdraw a verdict; its question is open again."""
        return await self._ask(Call(schemas.Verdict, "DELETE", f"/v1/verdicts/{verdict_id}"))

    async def verdicts(
        self,
        kind: schemas.Kind | None = None,
        decision: schemas.Decision | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> schemas.VerdictsResponse:
        """List verdicts, newest first."""
        return await self._ask(
            get(schemas.VerdictsResponse, "/v1/verdicts", kind=kind, decision=decision, before=before, limit=limit)
        )

    async def builds(self) -> schemas.BuildsResponse:
        """List every build of the catalogue."""
        return await self._ask(get(schemas.BuildsResponse, "/v1/builds"))

    async def promote(self, name: str) -> schemas.BuildsResponse:
        """Promote a build: make it the live one."""
        return await self._ask(
            Call(schemas.BuildsResponse, "POST", f"/v1/builds/{quote(name, safe='')}/promote", PATIENT)
        )

    async def rollback(self) -> schemas.BuildsResponse:
        """Roll back: make the previous build the live one."""
        return await self._ask(Call(schemas.BuildsResponse, "POST", "/v1/builds/rollback"))

    async def runs(self, limit: int = 20) -> schemas.RunsResponse:
        """List ingest runs, newest first."""
        return await self._ask(get(schemas.RunsResponse, "/v1/runs", limit=limit))

    async def rejected(self, run_id: str, after: int = 0, limit: int = 100) -> schemas.RejectedResponse:
        """List rows that a run rejected."""
        path = f"/v1/runs/{quote(run_id, safe='')}/rejected"
        return await self._ask(get(schemas.RejectedResponse, path, after=after, limit=limit))

    async def activity(self) -> schemas.ActivityResponse:
        """Return requests, errors and response times of the last hours."""
        return await self._ask(get(schemas.ActivityResponse, "/v1/activity"))

    async def models(self) -> schemas.ModelsResponse:
        """Describe the models of the builds."""
        return await self._ask(get(schemas.ModelsResponse, "/v1/models"))

    async def plot(self, model_fingerprint: str, name: str) -> bytes:
        """Return a plot of a model, as PNG."""
        return await self._retrying(self._fetch_bytes, plot_path(model_fingerprint, name))

    async def _ask(self, call: Call[Answer]) -> Answer:
        answer: Answer = await self._retrying(self._ask_once, call)
        return answer

    async def _ask_once(self, call: Call[Answer]) -> Answer:
        return read_answer(call, self.url, await self._send(call.method, call.path, **call.options))

    async def _fetch_bytes(self, path: str) -> bytes:
        return read_bytes(self.url, await self._send("GET", path))

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return await self._http.request(method, self.url + path, **options)
        except _FAILURES as error:
            raise no_response(self.url, error) from error

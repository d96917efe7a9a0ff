"""Run one search or a batch, from the request to the response."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from catalog.errors import InvalidQuery, MarketlensError
from search_api.errors import invalid_request, is_callers_fault, problem_of
from search_api.schemas import BatchAnswer, BatchRequest, BatchResponse, Problem, SearchRequest, SearchResponse
from search_api.search.heat_maps import explain
from search_api.search.pages import PlannedSearch, find_pages, plan_search
from search_api.search.query import Query
from search_api.search.query_resolver import QueryResolver
from search_api.search.response import PhotoUrl, search_response
from search_api.serving.live_catalogue import LiveBuild
from search_api.telemetry.timing import timings


async def search_one(
    live: LiveBuild, request: SearchRequest, uploads: Sequence[bytes], photo_url: PhotoUrl
) -> SearchResponse:
    """Answer one search. Raises its errors and those of the stages and the store."""
    resolver = QueryResolver(live, uploads)
    query = await resolver.resolve(request)
    search = plan_search(request, query, live.embedder.card)
    (page,) = await find_pages([search], live)
    to_explain = page.hits if "explain" in request.include else ()
    explanations = [await explain(query, hit.photo_id, live, resolver) for hit in to_explain]
    return search_response(search, page, explanations, live, photo_url, timings())


async def search_batch(
    live: LiveBuild, request: BatchRequest, uploads: Sequence[bytes], photo_url: PhotoUrl
) -> BatchResponse:
    """Answer every search with a response or a problem. Raises what the stages and the store raise."""
    requests = [_validated(data) for data in request.searches]
    resolver = QueryResolver(live, uploads)
    valid = [request for request in requests if isinstance(request, SearchRequest)]
    queries = iter(await resolver.resolve_many(valid))
    searches = [
        request if isinstance(request, Problem) else _planned(request, next(queries), live) for request in requests
    ]
    pages = iter(await find_pages([search for search in searches if isinstance(search, PlannedSearch)], live))
    spent = timings()
    answers = [
        BatchAnswer(problem=search)
        if isinstance(search, Problem)
        else BatchAnswer(answer=search_response(search, next(pages), (), live, photo_url, spent))
        for search in searches
    ]
    return BatchResponse(answers=answers, timings_ms=spent)


def _validated(data: dict[str, Any]) -> SearchRequest | Problem:
    try:
        return SearchRequest.model_validate(data)
    except ValidationError as error:
        return invalid_request(error.errors(include_input=False, include_url=False))


def _planned(request: SearchRequest, query: Query | MarketlensError, live: LiveBuild) -> PlannedSearch | Problem:
    if isinstance(query, MarketlensError):
        return problem_of(query)
    try:
        if "explain" in request.include:
            raise InvalidQuery("A batch cannot explain its hits.", hint="Use POST /v1/explain for each hit.")
        return plan_search(request, query, live.embedder.card)
    except MarketlensError as error:
        if not is_callers_fault(error):
            raise
        return problem_of(error)

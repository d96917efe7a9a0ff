"""A search from its request to its answer: resolve, search, explain. And many at once."""

from typing import Any

from pydantic import ValidationError

from catalog.errors import InvalidQuery, MarketlensError
from search_api.answering import PhotoUrl, answer
from search_api.errors import invalid_request, is_callers_fault, problem_of
from search_api.explaining import explain
from search_api.live import Live
from search_api.query import Query
from search_api.reading import Received
from search_api.resolving import Resolver
from search_api.schemas import (
    BatchAnswer,
    BatchRequest,
    BatchResponse,
    Explanation,
    Problem,
    SearchRequest,
    SearchResponse,
)
from search_api.searching import Found, Search, prepare, run


async def search_one(received: Received[SearchRequest], photo_url: PhotoUrl, live: Live) -> SearchResponse:
    """Answer one search. Raises what is wrong with it, and what stages and store raise."""
    resolver = Resolver(live, received.uploads)
    query = await resolver.one(received.message)
    search = prepare(received.message, query, live.embedder.card.calibration)
    (found,) = await run([search], live)
    explanations = await _explain(search, found, live, resolver)
    answered = answer(search, found, explanations, live, photo_url)
    return answered.model_copy(update={"timings_ms": received.timings()})


async def search_batch(received: Received[BatchRequest], photo_url: PhotoUrl, live: Live) -> BatchResponse:
    """Answer every search, or say what is wrong with it. Raises what stages and store raise."""
    requests = [_request(one) for one in received.message.searches]
    resolver = Resolver(live, received.uploads)
    queries = iter(await resolver.several([one for one in requests if isinstance(one, SearchRequest)]))
    prepared = [one if isinstance(one, Problem) else _prepared(one, next(queries), live) for one in requests]
    found = iter(await run([one for one in prepared if isinstance(one, Search)], live))
    answers = [
        BatchAnswer(problem=one)
        if isinstance(one, Problem)
        else BatchAnswer(answer=answer(one, next(found), (), live, photo_url))
        for one in prepared
    ]
    timings = received.timings()
    for one in answers:
        if one.answer:
            one.answer.timings_ms = timings
    return BatchResponse(answers=answers, timings_ms=timings)


async def _explain(search: Search, found: Found, live: Live, resolver: Resolver) -> list[Explanation]:
    if "explain" not in search.request.include:
        return []
    return [await explain(search.query, hit.photo_id, live, resolver) for hit in found.hits]


def _request(data: dict[str, Any]) -> SearchRequest | Problem:
    try:
        return SearchRequest.model_validate(data)
    except ValidationError as error:
        return invalid_request(error.errors(include_input=False, include_url=False))


def _prepared(request: SearchRequest, query: Query | MarketlensError, live: Live) -> Search | Problem:
    if isinstance(query, MarketlensError):
        return problem_of(query)
    try:
        if "explain" in request.include:
            raise InvalidQuery("A batch explains nothing.", hint="POST /v1/explain does, hit by hit.")
        return prepare(request, query, live.embedder.card.calibration)
    except MarketlensError as error:
        if not is_callers_fault(error):
            raise
        return problem_of(error)

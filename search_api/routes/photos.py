"""Classifies, embeds and explains photos."""

from typing import Annotated

from fastapi import APIRouter, Depends

from search_api.dependencies import CatalogueDep, needs
from search_api.openapi import body_schema, problems
from search_api.routes.request_body import RequestBody, request_body
from search_api.schemas import (
    ClassifyRequest,
    ClassifyResponse,
    EmbedRequest,
    EmbedResponse,
    ExplainRequest,
    ExplainResponse,
)
from search_api.search.heat_maps import explain
from search_api.search.query_resolver import QueryResolver
from search_api.search.response import required_categories
from search_api.search.tokens import write_query_id
from search_api.serving.live_catalogue import LiveBuild
from search_api.telemetry.timing import timings

router = APIRouter(prefix="/v1", tags=["search"], dependencies=[Depends(needs("read"))])

_PHOTO = {"a photo of the catalogue": {"photo_id": "f1"}}
_EXPLAIN = {"two photos": {"photo_id": "f1", "hit_photo_id": "f2", "overlays": True}}
_PROBLEMS = problems(400, 404, 408, 409, 413, 415)


@router.post("/classify", responses=_PROBLEMS, openapi_extra=body_schema(ClassifyRequest, _PHOTO))
async def classify(
    body: Annotated[RequestBody[ClassifyRequest], Depends(request_body(ClassifyRequest))], catalogue: CatalogueDep
) -> ClassifyResponse:
    """Classify a photo. Accepts the same sources as a search."""

    async def work(live: LiveBuild) -> ClassifyResponse:
        query = await QueryResolver(live, body.uploads).resolve(body.message)
        return ClassifyResponse(
            categories=required_categories(query, live),
            model_fingerprint=live.info.fingerprint,
            timings_ms=timings(),
        )

    return await catalogue.run(work)


@router.post("/embed", responses=_PROBLEMS, openapi_extra=body_schema(EmbedRequest, _PHOTO))
async def embed(
    body: Annotated[RequestBody[EmbedRequest], Depends(request_body(EmbedRequest))], catalogue: CatalogueDep
) -> EmbedResponse:
    """Return the embeddings of photos. Accepts the same sources as a search."""

    async def work(live: LiveBuild) -> EmbedResponse:
        query = await QueryResolver(live, body.uploads).resolve(body.message)
        return EmbedResponse(
            embeddings=query.vectors.tolist(),
            dim=live.embedder.dim,
            model_fingerprint=live.info.fingerprint,
            query_id=write_query_id(query, live.info.fingerprint),
            timings_ms=timings(),
        )

    return await catalogue.run(work)


@router.post("/explain", responses=_PROBLEMS, openapi_extra=body_schema(ExplainRequest, _EXPLAIN))
async def explain_hit(
    body: Annotated[RequestBody[ExplainRequest], Depends(request_body(ExplainRequest))], catalogue: CatalogueDep
) -> ExplainResponse:
    """Explain why a photo matched: a heat map for it, and one for the query's photo if that is available.

    The cells of a map add up to the score. In overlays, red cells raised the score and blue cells lowered it.
    """
    request = body.message

    async def work(live: LiveBuild) -> ExplainResponse:
        resolver = QueryResolver(live, body.uploads)
        query = await resolver.resolve(request)
        explained = await explain(query, request.hit_photo_id, live, resolver, overlays=request.overlays)
        return ExplainResponse(
            score=explained.score,
            query=explained.query,
            hit=explained.hit,
            model_fingerprint=live.info.fingerprint,
            timings_ms=timings(),
        )

    return await catalogue.run(work)

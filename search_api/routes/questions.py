"""What can be asked of a photo beside a search: its category, its embedding, why it was found."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends

from search_api.answering import required_categories
from search_api.deps import CatalogueDep, needs
from search_api.explaining import explain
from search_api.live import Live
from search_api.openapi import body, problems
from search_api.reading import Received, reader
from search_api.resolving import Resolver
from search_api.schemas import (
    ClassifyRequest,
    ClassifyResponse,
    EmbedRequest,
    EmbedResponse,
    ExplainRequest,
    ExplainResponse,
)
from search_api.tokens import write_query_id

router = APIRouter(prefix="/v1", tags=["search"], dependencies=[Depends(needs("read"))])

_PHOTO = {"a photo of the catalogue": {"photo_id": "f1"}}
_EXPLAIN = {"two photos": {"photo_id": "f1", "hit_photo_id": "f2", "overlays": True}}
_PROBLEMS = problems(400, 404, 408, 409, 413, 415)


@router.post("/classify", responses=_PROBLEMS, openapi_extra=body(ClassifyRequest, _PHOTO))
async def classify(
    received: Annotated[Received[ClassifyRequest], Depends(reader(ClassifyRequest))], catalogue: CatalogueDep
) -> ClassifyResponse:
    """Name the category of what a photo shows. Takes what a search takes."""

    async def ask(live: Live) -> ClassifyResponse:
        query = await Resolver(live, received.uploads).one(received.message)
        return ClassifyResponse(
            categories=required_categories(query.vectors, live),
            model_fingerprint=live.info.fingerprint,
            timings_ms=received.timings(),
        )

    return await catalogue.ask(ask)


@router.post("/embed", responses=_PROBLEMS, openapi_extra=body(EmbedRequest, _PHOTO))
async def embed(
    received: Annotated[Received[EmbedRequest], Depends(reader(EmbedRequest))], catalogue: CatalogueDep
) -> EmbedResponse:
    """Give the embeddings of photos. Takes what a search takes."""

    async def ask(live: Live) -> EmbedResponse:
        query = await Resolver(live, received.uploads).one(received.message)
        return EmbedResponse(
            embeddings=query.vectors.tolist(),
            dim=live.embedder.dim,
            model_fingerprint=live.info.fingerprint,
            query_id=write_query_id(query, live.info.fingerprint),
            timings_ms=received.timings(),
        )

    return await catalogue.ask(ask)


@router.post("/explain", responses=_PROBLEMS, openapi_extra=body(ExplainRequest, _EXPLAIN))
async def explain_hit(
    received: Annotated[Received[ExplainRequest], Depends(reader(ExplainRequest))], catalogue: CatalogueDep
) -> ExplainResponse:
    """Show what made a photo match: a heat map on it, and one on the query's photo where that came along.

    The cells of a map add up to the score. Red cells of an overlay made the two alike, blue ones told them apart.
    """
    return await catalogue.ask(partial(_explain, received))


async def _explain(received: Received[ExplainRequest], live: Live) -> ExplainResponse:
    request, resolver = received.message, Resolver(live, received.uploads)
    query = await resolver.one(request)
    explained = await explain(query, request.hit_photo_id, live, resolver, overlays=request.overlays)
    return ExplainResponse(
        score=explained.score,
        query=explained.query,
        hit=explained.hit,
        model_fingerprint=live.info.fingerprint,
        timings_ms=received.timings(),
    )

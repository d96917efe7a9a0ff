"""The three routes of the student system, the predecessor of this service, for apps that still use them."""

from typing import Annotated

from fastapi import APIRouter, Depends, File
from pydantic import BaseModel

from search_api.dependencies import CatalogueDep, PhotoUrlDep, needs
from search_api.openapi import problems
from search_api.schemas import SearchRequest, Source
from search_api.search.query_resolver import QueryResolver
from search_api.search.run import search_one
from search_api.serving.live_catalogue import LiveBuild

router = APIRouter(tags=["student system"])

ImageFile = Annotated[bytes, File(description="JPEG, PNG, WebP, GIF or BMP.")]
_READ = [Depends(needs("read"))]


class Message(BaseModel):
    """A message that the service is up."""

    message: str


class Features(BaseModel):
    """The embedding of a photo."""

    features: list[float]


class Similar(BaseModel):
    """A listing similar to the photo."""

    listing_id: str
    photo_id: str
    score: float


class SimilarImages(BaseModel):
    """The nearest listings, nearest first."""

    similar: list[Similar]


@router.get("/healthcheck")
async def healthcheck() -> Message:
    """Tell whether the process responds, like `/livez`."""
    return Message(message="API is up and running!")


@router.post("/predict/feature_embedding/image", dependencies=_READ, responses=problems(400, 408, 413))
async def feature_embedding(image: ImageFile, catalogue: CatalogueDep) -> Features:
    """Return the embedding of a photo, like `POST /v1/embed`."""

    async def work(live: LiveBuild) -> Features:
        query = await QueryResolver(live, [image]).resolve(Source())
        return Features(features=query.vectors[0].tolist())

    return await catalogue.run(work)


@router.post("/predict/similar_images", dependencies=_READ, responses=problems(400, 408, 413))
async def similar_images(image: ImageFile, catalogue: CatalogueDep, photo_url: PhotoUrlDep) -> SimilarImages:
    """Find listings similar to a photo, like `POST /v1/search`. Returns ids and scores instead of row numbers."""
    answer = await catalogue.run(lambda live: search_one(live, SearchRequest(), [image], photo_url))
    return SimilarImages(
        similar=[Similar(listing_id=hit.listing_id, photo_id=hit.photo_id, score=hit.score) for hit in answer.hits]
    )

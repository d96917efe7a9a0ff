"""Lists, promotes and rolls back builds of the catalogue. Only the command line creates and drops them."""

from fastapi import APIRouter, Depends

from catalog.settings import IndexType
from catalog.store.builds import CollectionInfo
from index_builds import promotion
from search_api.dependencies import CatalogueDep, needs
from search_api.openapi import problems
from search_api.schemas import Build, BuildsResponse
from search_api.serving.live_catalogue import LiveCatalogue

router = APIRouter(prefix="/v1", tags=["operations"], dependencies=[Depends(needs("admin"))])

_PARAMETERS: dict[IndexType, tuple[str, ...]] = {
    "FLAT": (),
    "IVF_FLAT": ("nlist", "nprobe"),
    "IVF_SQ8": ("nlist", "nprobe"),
    "IVF_PQ": ("nlist", "nprobe", "pq_m"),
    "HNSW": ("hnsw_m", "ef_construction", "ef"),
}


@router.get("/builds", responses=problems())
def builds(catalogue: CatalogueDep) -> BuildsResponse:
    """List all builds, newest first, with the live one and the one that a rollback makes live."""
    return _builds(catalogue)


@router.post("/builds/rollback", responses=problems(404, 409))
def rollback(catalogue: CatalogueDep) -> BuildsResponse:
    """Make the previous build live again, atomically. It lacks what was ingested after the promotion."""
    catalogue.photos.builds.rollback()
    return _builds(catalogue)


@router.post("/builds/{name}/promote", responses=problems(404, 409))
def promote(name: str, catalogue: CatalogueDep) -> BuildsResponse:
    """Make a build live, atomically. Refused unless it is complete and holds the photos of the live build.

    The service uses it once its model is loaded; until then `pending` says what is missing.
    """
    promotion.promote(catalogue.photos, catalogue.photos.builds.find(name))
    return _builds(catalogue)


def _builds(catalogue: LiveCatalogue) -> BuildsResponse:
    photos = catalogue.photos
    live = photos.builds.live()

    def describe(info: CollectionInfo) -> Build:
        is_live = info.name == live.name
        return Build(
            name=info.name,
            build=info.build,
            model_fingerprint=info.fingerprint,
            model=info.model,
            index=info.index.model_dump(include={"type", *_PARAMETERS[info.index.type]}),
            state=info.state,
            # Counting would load the other builds into Milvus' memory.
            photos=photos.at(info).reader.count() if is_live else photos.builds.rows(info.name),
            is_live=is_live,
            is_previous=info.name == live.previous,
        )

    return BuildsResponse(
        alias=photos.builds.alias,
        builds=[describe(info) for info in photos.builds.all()],
        pending=catalogue.pending or None,
    )

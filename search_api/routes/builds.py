"""Builds of the catalogue: shown, promoted, rolled back. Made and dropped by the command line alone."""

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
    """Every build, newest first: which is live, and where a rollback would go."""
    return _builds(catalogue)


@router.post("/builds/rollback", responses=problems(404, 409))
def rollback(catalogue: CatalogueDep) -> BuildsResponse:
    """Make the build live that was so before, in one step. What was ingested since is not in it."""
    catalogue.photos.builds.rollback()
    return _builds(catalogue)


@router.post("/builds/{name}/promote", responses=problems(404, 409))
def promote(name: str, catalogue: CatalogueDep) -> BuildsResponse:
    """Make a build the live one, in one step. Refused unless it is complete and holds the live one's photos.

    The service answers from it once its model is loaded: `pending` says what keeps it.
    """
    promotion.promote(catalogue.photos, catalogue.photos.builds.find(name))
    return _builds(catalogue)


def _builds(catalogue: LiveCatalogue) -> BuildsResponse:
    photos = catalogue.photos
    live = photos.builds.live()

    def shown(info: CollectionInfo) -> Build:
        is_live = info.name == live.name
        return Build(
            name=info.name,
            build=info.build,
            model_fingerprint=info.fingerprint,
            model=info.model,
            index=info.index.model_dump(include={"type", *_PARAMETERS[info.index.type]}),
            state=info.state,
            # Counting would load the others into Milvus' memory.
            photos=photos.at(info).reader.count() if is_live else photos.builds.rows(info.name),
            is_live=is_live,
            is_previous=info.name == live.previous,
        )

    return BuildsResponse(
        alias=photos.builds.alias,
        builds=[shown(info) for info in photos.builds.all()],
        pending=catalogue.pending or None,
    )

"""Results of `marketlens insights`: statistics of the collection, its map, suspected errors."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from search_api.dependencies import InsightsDep, LiveDep, MapsDep, PhotoUrlDep, VerdictsDep, needs
from search_api.listings.fields import listing_fields
from search_api.openapi import problems
from search_api.review.open_questions import open_duplicates, open_suggestions
from search_api.schemas import (
    MAX_PAGE,
    CategoryInsight,
    ClusterLabel,
    ConfusionResponse,
    DuplicateKind,
    DuplicatesResponse,
    InsightPhoto,
    InsightsResponse,
    MapResponse,
    PhotosResponse,
    SuggestionsResponse,
)

router = APIRouter(prefix="/v1", tags=["insights"], dependencies=[Depends(needs("read"))])

MAX_MAP_PHOTOS = 50_000
_CATEGORY_CHARACTERS = 1_000

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
After = Annotated[int | None, Query(ge=0, le=2**31 - 1, description="`next_after` of the previous page.")]
Category = Annotated[
    str | None, Query(max_length=_CATEGORY_CHARACTERS, description="The category that the seller chose.")
]
Skipped = Annotated[bool, Query(description="Include skipped questions.")]


@router.get("/insights", responses=problems(404))
def insights(live: LiveDep, tables: InsightsDep) -> InsightsResponse:
    """Summarise the collection: size, words and map position of categories and clusters, overlap of categories."""
    summary = tables.insights.summary
    return InsightsResponse(
        collection=summary.collection,
        model_fingerprint=summary.model_fingerprint,
        made_at=summary.made_at,
        photos=summary.photos,
        mapped_photos=summary.mapped_photos,
        is_stale=live.photos.notes.changed_at() != summary.changed_at,
        categories=[CategoryInsight.model_validate(category.model_dump()) for category in summary.categories],
        clusters=[ClusterLabel.model_validate(cluster.model_dump()) for cluster in summary.clusters],
        overlap=summary.overlap,
        distances=summary.distances,
        suggestions=summary.suggestions,
        duplicates=sum(summary.duplicates.values()),
    )


@router.get("/map", responses={200: {"model": MapResponse}, **problems(404)})
def photo_map(
    request: Request,
    tables: InsightsDep,
    maps: MapsDep,
    limit: Annotated[int, Query(ge=1, le=MAX_MAP_PHOTOS)] = MAX_MAP_PHOTOS,
) -> Response:
    """Return the 2-D map of the photos, column by column. 50,000 photos are 15 MB, or 5 MB with gzip."""
    rendered = maps.render(tables.insights, limit)
    headers = {"Cache-Control": "private, no-cache", "ETag": rendered.tag, "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == rendered.tag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(rendered.zipped, media_type="application/json", headers=headers | {"Content-Encoding": "gzip"})
    return Response(rendered.plain, media_type="application/json", headers=headers)


@router.get("/insights/confusion", responses=problems(404))
def confusion(tables: InsightsDep) -> ConfusionResponse:
    """Count photos by the seller's category and the model's."""
    summary = tables.insights.summary
    return ConfusionResponse(
        categories=[category.category for category in summary.categories],
        predicted_categories=summary.predicted_categories,
        counts=summary.confusion,
        trained_on=summary.trained_on,
    )


@router.get("/insights/photos", responses=problems(404))
def photos(
    live: LiveDep,
    tables: InsightsDep,
    photo_url: PhotoUrlDep,
    category: Category = None,
    predicted: Annotated[
        str | None, Query(max_length=_CATEGORY_CHARACTERS, description="The category that the model predicted.")
    ] = None,
    outliers: Annotated[
        bool, Query(description="Sort by how untypical photos are of their category, and return that score.")
    ] = False,
    after: After = None,
    limit: Limit = 50,
) -> PhotosResponse:
    """List photos of a category or of a cell of the confusion matrix, or outliers. Removed photos are omitted."""
    table = tables.insights.select(category=category, predicted=predicted, outliers=outliers)
    start = 0 if after is None else after
    rows = table.slice(start, limit).to_pylist()
    stored_photos = live.photos.reader.stored([row["photo_id"] for row in rows])
    listed = [
        InsightPhoto(
            **listing_fields(stored.photo.listing),
            photo_id=row["photo_id"],
            photo_url=photo_url(row["photo_id"]),
            predicted_category=row["predicted_category"],
            confidence=row["confidence"],
            score=row["outlier_score"] if outliers else None,
        )
        for row in rows
        if (stored := stored_photos.get(row["photo_id"]))
    ]
    end = start + limit
    return PhotosResponse(photos=listed, total=table.num_rows, next_after=end if end < table.num_rows else None)


@router.get("/insights/suggestions", responses=problems(404))
def suggestions(
    live: LiveDep,
    tables: InsightsDep,
    verdicts: VerdictsDep,
    photo_url: PhotoUrlDep,
    category: Category = None,
    suggested: Annotated[str | None, Query(max_length=_CATEGORY_CHARACTERS)] = None,
    after: After = None,
    limit: Limit = 20,
    skipped: Skipped = False,
) -> SuggestionsResponse:
    """List listings whose category is probably wrong and not decided yet, the most certain first."""
    page = open_suggestions(
        tables,
        live.photos,
        photo_url,
        verdicts.wrong_categories(),
        category=category,
        suggested=suggested,
        after=after,
        limit=limit,
        skipped=skipped,
    )
    return SuggestionsResponse(suggestions=page.items, remaining=page.remaining, next_after=page.next_after)


@router.get("/insights/duplicates", responses=problems(404))
def duplicates(
    live: LiveDep,
    tables: InsightsDep,
    verdicts: VerdictsDep,
    photo_url: PhotoUrlDep,
    kind: DuplicateKind | None = None,
    after: After = None,
    limit: Limit = 20,
    skipped: Skipped = False,
) -> DuplicatesResponse:
    """List groups of listings that probably show the same item and are not decided yet."""
    page = open_duplicates(
        tables,
        live.photos,
        photo_url,
        verdicts.duplicates(),
        kind=kind,
        after=after,
        limit=limit,
        skipped=skipped,
    )
    return DuplicatesResponse(groups=page.items, remaining=page.remaining, next_after=page.next_after)

"""Responses of searches: hits with probabilities, categories, facets and timings."""

from collections.abc import Callable, Collection, Sequence

import numpy as np

from catalog.errors import InvalidQuery
from catalog.listing import Hit
from embedding.card import GOOD_MATCH
from search_api.listings.fields import as_time, listing_fields
from search_api.schemas import (
    CategoryProbability,
    Explanation,
    Include,
    OtherPhoto,
    SearchHit,
    SearchResponse,
    StoredFields,
    Timings,
)
from search_api.search.pages import FoundPage, PlannedSearch
from search_api.search.query import Query
from search_api.search.tokens import write_query_id
from search_api.serving.live_catalogue import LiveBuild

# Words of which the model knows less than this share of their pieces are answered by chance.
KNOWN_SHARE = 0.25

PhotoUrl = Callable[[str], str]


def search_response(
    search: PlannedSearch,
    page: FoundPage,
    explanations: Sequence[Explanation | None],
    live: LiveBuild,
    photo_url: PhotoUrl,
    timings: Timings,
) -> SearchResponse:
    """Build the response; `explanations` has one for each hit, or none."""
    curve, query = search.calibration, search.query
    probabilities: list[float | None] = [None] * len(page.hits)
    if curve is not None:
        probabilities = curve.probability(np.array([hit.score for hit in page.hits], np.float32)).tolist()
    return SearchResponse(
        hits=[
            _search_hit(hit, probability, explanation, search.request.include, photo_url)
            for hit, probability, explanation in zip(
                page.hits, probabilities, explanations or [None] * len(page.hits), strict=True
            )
        ],
        asked_by=query.kind,
        no_good_match=_no_good_match(search, probabilities, live),
        predicted_categories=categories_of(query, live),
        facets=page.facets,
        query_id=write_query_id(search.query, live.info.fingerprint),
        cursor=page.cursor,
        exhausted=page.exhausted,
        exact=page.exact,
        collection=live.info.name,
        model_fingerprint=live.info.fingerprint,
        changed_at=as_time(page.changed_at) if page.changed_at else None,
        timings_ms=timings,
    )


def categories_of(query: Query, live: LiveBuild) -> list[CategoryProbability] | None:
    """Classify a query by its photos and its words, most probable first; None if the model has no categories."""
    probabilities = live.embedder.classify_together(query.looks, query.text)
    if probabilities is None:
        return None
    names = live.embedder.card.categories
    return [
        CategoryProbability(category=names[place], probability=probabilities[place])
        for place in np.argsort(-probabilities)
    ]


def required_categories(query: Query, live: LiveBuild) -> list[CategoryProbability]:
    """Return `categories_of`. Raises InvalidQuery if the model has no categories."""
    categories = categories_of(query, live)
    if categories is None:
        raise InvalidQuery(
            f"The model {live.embedder.card.name} knows no categories.",
            hint="Use a model made with `marketlens train`.",
        )
    return categories


def _no_good_match(search: PlannedSearch, probabilities: Sequence[float | None], live: LiveBuild) -> bool | None:
    """Whether no hit is good; None if the model cannot tell for such a query."""
    query = search.query
    if not len(query.vectors):
        return True
    if search.calibration is None:
        return None
    if query.kind == "words" and live.embedder.words and live.embedder.words.known_share([query.text])[0] < KNOWN_SHARE:
        return True
    return not any((chance or 0.0) >= GOOD_MATCH for chance in probabilities)


def _search_hit(
    hit: Hit,
    probability: float | None,
    explanation: Explanation | None,
    include: Collection[Include],
    photo_url: PhotoUrl,
) -> SearchHit:
    return SearchHit(
        **listing_fields(hit.listing),
        score=hit.score,
        probability=probability,
        photo_id=hit.photo_id,
        photo_url=photo_url(hit.photo_id),
        matched_photos=1 + len(hit.others),
        other_photos=[
            OtherPhoto(photo_id=other.photo.photo_id, photo_url=photo_url(other.photo.photo_id), score=score)
            for score, other in hit.others
        ],
        embedding=hit.embedding.tolist() if "embedding" in include and hit.embedding is not None else None,
        explanation=explanation,
        payload=StoredFields(sha256=hit.photo.sha256, ingested_at=as_time(hit.photo.ingested_at))
        if "payload" in include
        else None,
    )

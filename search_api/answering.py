"""Hits -> the answer, with what the model says of them."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from catalog.errors import InvalidQuery
from catalog.index import Embeddings
from catalog.listing import Hit, Listing
from embedding.card import Calibration
from search_api.live import Live
from search_api.schemas import (
    CategoryProbability,
    Explanation,
    Include,
    ListingFields,
    OtherPhoto,
    SearchHit,
    SearchResponse,
    StoredFields,
    Timings,
)
from search_api.searching import Found, Search
from search_api.tokens import write_query_id

# From which probability on a hit is taken for the same item.
GOOD_MATCH = 0.5

PhotoUrl = Callable[[str], str]

_LISTING = tuple(ListingFields.model_fields)


def answer(
    search: Search, found: Found, explanations: Sequence[Explanation | None], live: Live, photo_url: PhotoUrl
) -> SearchResponse:
    """Put the answer together, but for its timings; `explanations` are those of all hits, or none."""
    curve = None if search.query.combined else live.embedder.card.calibration
    probabilities = _probabilities(found.hits, curve)
    return SearchResponse(
        hits=[
            _hit(hit, probability, explanation, search.request.include, photo_url)
            for hit, probability, explanation in zip(
                found.hits, probabilities, explanations or [None] * len(found.hits), strict=True
            )
        ],
        no_good_match=None if curve is None else not any((one or 0.0) >= GOOD_MATCH for one in probabilities),
        predicted_categories=categories_of(search.query.vectors, live),
        facets=found.facets,
        query_id=write_query_id(search.query, live.info.fingerprint),
        cursor=found.cursor,
        exhausted=found.exhausted,
        exact=found.exact,
        collection=live.info.name,
        model_fingerprint=live.info.fingerprint,
        changed_at=moment(found.changed_at) if found.changed_at else None,
        timings_ms=Timings(total=0.0),
    )


def categories_of(vectors: Embeddings, live: Live) -> list[CategoryProbability] | None:
    """What vectors (n, dim) of one thing show, most probable first; None where the model has no categories."""
    probabilities = live.embedder.classify(vectors)
    if probabilities is None:
        return None
    mean = probabilities.mean(axis=0)
    names = live.embedder.card.categories
    return [CategoryProbability(category=names[place], probability=mean[place]) for place in np.argsort(-mean)]


def required_categories(vectors: Embeddings, live: Live) -> list[CategoryProbability]:
    """As `categories_of`. Raises InvalidQuery where the model has none."""
    categories = categories_of(vectors, live)
    if categories is None:
        raise InvalidQuery(
            f"The model {live.embedder.card.name} knows no categories.",
            hint="Models made with `marketlens train` do.",
        )
    return categories


def listing_fields(listing: Listing) -> dict[str, Any]:
    """What an answer says of a listing."""
    # Not asdict: it copies deeply, which takes 40 microseconds for each hit.
    return {name: getattr(listing, name) for name in _LISTING}


def moment(seconds: int) -> datetime:
    """Unix seconds as UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def _probabilities(hits: Sequence[Hit], curve: Calibration | None) -> Sequence[float | None]:
    if curve is None:
        return [None] * len(hits)
    probabilities: list[float] = curve.probability(np.array([hit.score for hit in hits], np.float32)).tolist()
    return probabilities


def _hit(
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
        payload=StoredFields(sha256=hit.photo.sha256, ingested_at=moment(hit.photo.ingested_at))
        if "payload" in include
        else None,
    )

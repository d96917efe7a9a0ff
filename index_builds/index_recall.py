"""Measure the recall of a collection's index against exact search."""

from collections.abc import Sequence

import faiss
import numpy as np

from catalog.listing import Embeddings
from catalog.store.collection import PhotoCollection

DEPTH = 10
# Neighbours fetched beyond the depth: photos with equal scores may come in any order, and the query is among them.
_SPARE = 40
_SAME_SCORE = 1e-5
_BATCH = 64


def index_recall(photos: PhotoCollection, query_ids: Sequence[str]) -> float:
    """Return the mean share of each query photo's 10 nearest other photos that the index finds: 0 to 1."""
    queries = photos.reader.embeddings(query_ids)
    shares = []
    exact = _exact(photos, queries)
    for query_id, answer, found in zip(query_ids, exact, nearest_ids(photos, queries), strict=True):
        others = {photo_id: score for photo_id, score in answer.items() if photo_id != query_id}
        wanted = min(DEPTH, len(others))
        if wanted:
            lowest = sorted(others.values(), reverse=True)[wanted - 1] - _SAME_SCORE
            near = {photo_id for photo_id, score in others.items() if score >= lowest}
            page = [photo_id for photo_id in found if photo_id != query_id][:wanted]
            shares.append(len(near.intersection(page)) / wanted)
    return float(np.mean(shares)) if shares else 1.0


def nearest_ids(photos: PhotoCollection, queries: Embeddings) -> list[list[str]]:
    """Return the ids of the 11 photos that the index finds nearest to each query (n, dim): 10 and the query itself."""
    found = []
    for start in range(0, len(queries), _BATCH):
        for result in photos.reader.nearest(queries[start : start + _BATCH], DEPTH + 1):
            found.append([stored.photo.photo_id for _, stored in result])
    return found


def _exact(photos: PhotoCollection, queries: Embeddings) -> list[dict[str, float]]:
    """Return the nearest photos of each query (n, dim) with their cosines; memory does not grow with the collection."""
    best: list[dict[str, float]] = [{} for _ in queries]
    for ids, embeddings in photos.reader.vectors():
        index = faiss.IndexFlatIP(embeddings.shape[1])
        index.add(embeddings)
        scores, rows = index.search(queries, min(DEPTH + _SPARE, len(ids)))
        for number, known in enumerate(best):
            known |= {ids[row]: float(score) for row, score in zip(rows[number], scores[number], strict=True)}
            nearest = sorted(known.items(), key=lambda item: -item[1])[: DEPTH + _SPARE]
            best[number] = dict(nearest)
    return best

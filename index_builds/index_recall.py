"""How much of what an exact search would find a collection's index finds."""

from collections.abc import Sequence

import faiss
import numpy as np

from catalog.listing import Embeddings
from catalog.store.collection import PhotoCollection

DEPTH = 10
# Looked at beyond the depth, since photos with one score may stand in any order; the query itself is among them.
_SPARE = 40
_SAME_SCORE = 1e-5
_AT_ONCE = 64


def index_recall(photos: PhotoCollection, query_ids: Sequence[str]) -> float:
    """Part of each query photo's 10 nearest others that the index finds, on average: 0 to 1."""
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
    """Ids of the photos that the index finds nearest to each query (n, dim): 11, to leave the query itself out."""
    found = []
    for start in range(0, len(queries), _AT_ONCE):
        for result in photos.reader.nearest(queries[start : start + _AT_ONCE], DEPTH + 1):
            found.append([stored.photo.photo_id for _, stored in result])
    return found


def _exact(photos: PhotoCollection, queries: Embeddings) -> list[dict[str, float]]:
    """The nearest photos of each query (n, dim) with their cosines, batch by batch: memory stays flat."""
    best: list[dict[str, float]] = [{} for _ in queries]
    for ids, embeddings in photos.reader.vectors():
        index = faiss.IndexFlatIP(embeddings.shape[1])
        index.add(embeddings)
        scores, rows = index.search(queries, min(DEPTH + _SPARE, len(ids)))
        for number, known in enumerate(best):
            known |= {ids[row]: float(score) for row, score in zip(rows[number], scores[number], strict=True)}
            kept = sorted(known.items(), key=lambda item: -item[1])[: DEPTH + _SPARE]
            best[number] = dict(kept)
    return best

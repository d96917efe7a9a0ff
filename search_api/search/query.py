"""A search's question once it is read: vectors, and what they came from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catalog.errors import InvalidQuery
from catalog.listing import Embeddings
from search_api.serving.photos import Picture

MAX_VECTORS = 64
_CANCELLED = 1e-3


@dataclass(frozen=True, slots=True)
class Query:
    """Vectors (n, dim) of unit length: a hit is near to any of them.

    `key` stands for what was asked by, the same bytes for the same source; `own` are listings to be left out. A query
    is `combined` when its one vector was made of several examples. `pictures` are the photos of the vectors, if any.
    """

    vectors: Embeddings
    key: bytes
    own: tuple[str, ...] = ()
    combined: bool = False
    pictures: tuple[Picture, ...] = ()


def rocchio(positives: Sequence[tuple[Embeddings, float]], negatives: Sequence[tuple[Embeddings, float]]) -> Embeddings:
    """Make examples (vector (dim,), weight) one vector (dim,) of unit length. Raises InvalidQuery where none is left.

    The weighted mean of the positives, less the negatives times their weights over their number: Rocchio, "Relevance
    feedback in information retrieval", 1971.
    """
    total = sum(weight for _, weight in positives)
    vector = np.sum([weight / total * one for one, weight in positives], axis=0)
    if negatives:
        vector = vector - np.sum([weight / len(negatives) * one for one, weight in negatives], axis=0)
    length = float(np.linalg.norm(vector))
    if length < _CANCELLED:
        raise InvalidQuery(
            "The positives and negatives cancel each other out: nothing is left to search for.",
            hint="Give the negatives less weight, or other examples.",
        )
    return np.asarray(vector / length, np.float32)

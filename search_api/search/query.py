"""The query of a search: vectors, and the photos and listings they came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from catalog.errors import InvalidQuery
from catalog.listing import Embeddings
from search_api.serving.photos import Picture

MAX_VECTORS = 64
_CANCELLED = 1e-3


Kind = Literal["photo", "words", "examples"]
"""What a query asks by: photos, words, or one vector that was made of several examples."""


@dataclass(frozen=True, slots=True)
class Query:
    """Vectors (n, dim) of unit length: a hit is near any of them. There is none for words that the model never saw.

    `key` identifies the source: equal sources have equal keys. `own` are the source's listings, which are excluded.
    `pictures` are the photos of the vectors. `text` are its words, and `looks` (n, dim) its positive photos: both tell
    its category.
    """

    vectors: Embeddings
    key: bytes
    kind: Kind
    looks: Embeddings
    own: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    text: str = ""


def rocchio(positives: Sequence[tuple[Embeddings, float]], negatives: Sequence[tuple[Embeddings, float]]) -> Embeddings:
    """Combine examples (vector (dim,), weight) into one vector (dim,) of unit length. Raises InvalidQuery for zero.

    The weighted mean of the positives minus the mean of the weighted negatives: Rocchio, "Relevance feedback in
    information retrieval", 1971.
    """
    total = sum(weight for _, weight in positives)
    combined = np.sum([weight / total * vector for vector, weight in positives], axis=0)
    if negatives:
        combined = combined - np.sum([weight / len(negatives) * vector for vector, weight in negatives], axis=0)
    length = float(np.linalg.norm(combined))
    if length < _CANCELLED:
        raise InvalidQuery(
            "The positives and negatives cancel each other out: nothing is left to search for.",
            hint="Give the negatives less weight, or other examples.",
        )
    return np.asarray(combined / length, np.float32)

"""The category head: category probabilities from embeddings, without photos."""

import math

import numpy as np
from numpy.typing import NDArray

from catalog.listing import Embeddings
from embedding.card import CategoryWeights, TwoPartHeadConfig
from embedding.int8_weights import Weights

LEAST = 0.005
"""Added to a probability before its logarithm, so that a zero is no veto."""


class CategoryHead:
    """The last layer of `embedding.model.TwoPartHead` in NumPy: it reads the kind part of an embedding."""

    def __init__(self, config: TwoPartHeadConfig, weights: Weights) -> None:
        self._item_dim = config.item_dim
        # The kind part has length sqrt(share) in an embedding, and sqrt(dim) after LayerNorm.
        self._scale = np.float32(math.sqrt(config.kind_dim / config.kind_share))
        self._weight: NDArray[np.float32] = weights["head.category.weight"]
        self._bias: NDArray[np.float32] = weights["head.category.bias"]

    def probabilities(self, embeddings: Embeddings) -> NDArray[np.float32]:
        """Embeddings (n, dim) -> probabilities (n, categories), which sum to 1."""
        return softmax(embeddings[:, self._item_dim :] * self._scale @ self._weight.T + self._bias)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Logits (n, categories) -> probabilities (n, categories)."""
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)


def combine(by_photo: NDArray[np.float32], by_title: NDArray[np.float32], weights: CategoryWeights) -> Embeddings:
    """Combine the probabilities of photos and their titles: each (n, categories)."""
    logarithms = weights.photo * np.log(by_photo + LEAST) + weights.title * np.log(by_title + LEAST)
    return softmax(logarithms)

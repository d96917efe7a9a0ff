"""The text tower in NumPy: texts -> embeddings that are compared with those of photos, and category probabilities.

The layers are learned in `embedding.training.words` and stored in the model folder.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from more_itertools import chunked
from numpy.typing import NDArray

from catalog.listing import Embeddings
from embedding.card import TextConfig
from embedding.category_head import softmax
from embedding.int8_weights import Weights
from embedding.text.features import Features, extract_features

_BATCH = 512

Layer = tuple[NDArray[np.float32], NDArray[np.float32]]
"""The transposed weight (inputs, outputs) and the bias (outputs,)."""


@dataclass(frozen=True, slots=True)
class KnownFeatures:
    """The features of texts that a vocabulary contains, one text after the other.

    `rows` and `weights` (features,) are places in the vocabulary and weights; `text` (features,) numbers the text of
    each; `known` (texts,) is the share of each text's features that the vocabulary contains, 0 to 1.
    """

    rows: NDArray[np.int64]
    weights: NDArray[np.float32]
    text: NDArray[np.int64]
    known: NDArray[np.float32]

    def sum(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sum the weighted vectors (features, n) of each text: (texts, n); zeros for a text without a known feature."""
        sums = np.zeros((len(self.known), vectors.shape[1]), np.float32)
        present, starts = np.unique(self.text, return_index=True)
        if len(present):
            sums[present] = np.add.reduceat(vectors * self.weights[:, None], starts)
        return sums


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Hashes of features, sorted, and the inverse document frequency of each: uint32 and float32 (features,)."""

    hashes: NDArray[np.uint32]
    idf: NDArray[np.float32]

    @classmethod
    def of(cls, texts: Sequence[Features], *, at_least: int, at_most: int | None = None) -> "Vocabulary":
        """Take the features of `at_least` texts, the `at_most` most frequent ones; empty if there is none."""
        frequency = Counter(feature for text in texts for feature in (*text.words, *text.pieces))
        # Ordered by hash on ties, so that the same texts give the same vocabulary.
        frequent = sorted((-count, feature) for feature, count in frequency.items() if count >= at_least)
        hashes = sorted(feature for _, feature in frequent[:at_most])
        counts = np.array([frequency[feature] for feature in hashes])
        return cls(np.array(hashes, np.uint32), np.log(1 + len(texts) / counts).astype(np.float32))

    def look_up(self, texts: Sequence[Features]) -> KnownFeatures:
        """Find the features of texts. Words and pieces of a text are weighted by idf, each group to unit length."""
        groups = [group for text in texts for group in (text.words, text.pieces)]
        sizes = np.array([len(group) for group in groups], np.int64)
        hashes = np.fromiter((feature for group in groups for feature in group), np.uint32, int(sizes.sum()))
        group = np.repeat(np.arange(len(groups)), sizes)
        rows = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        is_known = self.hashes[rows] == hashes
        rows, group = rows[is_known], group[is_known]
        weights = self.idf[rows]
        lengths = np.sqrt(np.bincount(group, weights**2, len(groups)))
        counts = np.bincount(group, minlength=len(groups)).reshape(-1, 2).sum(axis=1)
        return KnownFeatures(
            rows,
            (weights / np.maximum(lengths[group], 1e-12)).astype(np.float32),
            group // 2,
            (counts / np.maximum(sizes.reshape(-1, 2).sum(axis=1), 1)).astype(np.float32),
        )


@dataclass(frozen=True, slots=True)
class FeatureVectors:
    """The vectors of features, stored by product quantisation: a byte names one of 256 pieces of a vector.

    `codes` (features, pieces) are those bytes, `codebook` (pieces, 256, piece) the pieces of vectors of unit length,
    `lengths` (features,) the lengths of the vectors.
    """

    codes: NDArray[np.uint8]
    codebook: NDArray[np.float32]
    lengths: NDArray[np.float32]

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of these features: (rows, width)."""
        pieces = self.codebook[np.arange(len(self.codebook)), self.codes[rows]]
        width = self.codebook.shape[0] * self.codebook.shape[2]
        return np.asarray(pieces.reshape(len(rows), width) * self.lengths[rows, None])


class TextTower:
    """Embeds and classifies texts."""

    def __init__(self, config: TextConfig, weights: Weights) -> None:
        self.config = config
        self._vocabulary = Vocabulary(weights["text.hashes"], weights["text.idf"])
        self._vectors = FeatureVectors(weights["text.codes"], weights["text.codebook"], weights["text.lengths"])
        self._hidden_layer, self._embedding_layer = (
            (weights[f"text.{layer}.weight"].T, weights[f"text.{layer}.bias"]) for layer in ("hidden", "embedding")
        )
        # Texts share few features, so their columns are gathered: rows are contiguous.
        self._category: Layer | None = None
        if (category := weights.get("text.category.weight")) is not None:
            self._category = np.ascontiguousarray(category.T), weights["text.category.bias"]

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Texts -> float32 (n, dim) of unit length; zeros for a text without a known feature."""
        return self._compute(texts, self._embed)

    def classify(self, texts: Sequence[str]) -> NDArray[np.float32] | None:
        """Texts -> probabilities (n, categories), those of no text in particular for one without a known feature.

        The order of the categories is that of the model card; None without categories.
        """
        return None if self._category is None else self._compute(texts, self._classify)

    def known_share(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the share of each text's features that the tower has learned (n,), 0 to 1."""
        return self._vocabulary.look_up([extract_features(text) for text in texts]).known

    def _compute(self, texts: Sequence[str], compute: Callable[[KnownFeatures], Embeddings]) -> Embeddings:
        """Compute equal texts once, in batches."""
        different = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        parts = [
            compute(self._vocabulary.look_up([extract_features(text) for text in batch]))
            for batch in chunked(different, _BATCH)
        ]
        return np.concatenate(parts)[[different[text] for text in texts]]

    def _embed(self, features: KnownFeatures) -> Embeddings:
        sums = features.sum(self._vectors.of(features.rows))
        outputs = _apply(self._embedding_layer, np.maximum(_apply(self._hidden_layer, sums), 0))
        lengths = np.linalg.norm(outputs, axis=1, keepdims=True)
        return np.where(features.known[:, None] > 0, outputs / np.maximum(lengths, 1e-12), 0).astype(np.float32)

    def _classify(self, features: KnownFeatures) -> NDArray[np.float32]:
        assert self._category  # noqa: S101 - `classify` checks it
        rows, bias = self._category
        return softmax(features.sum(rows[features.rows]) + bias)


def _apply(layer: Layer, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    weight, bias = layer
    return np.asarray(inputs @ weight + bias)

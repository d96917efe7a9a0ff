"""Several voices on a thing's category, such as its photo and its title, and how much each counts. Pure.

The voices are combined as a weighted product of their probabilities (Genest & Zidek, "Combining probability
distributions", 1986). The weights are those that explain the sellers' own categories best, most of which are right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from embedding.category_head import LEAST

Shares = NDArray[np.float32]
"""Probabilities of each category: (n, categories)."""

_MAX_TRAINING = 50_000  # listings: a few weights need no more
# A prior of a few listings per category, for small collections.
_SHRINKAGE = 3.0
_TYPICAL_WEIGHT = 0.5


@dataclass(frozen=True)
class Weights:
    """The weight of each voice (voices,) and the prior of each category, as logarithms (categories,)."""

    voices: NDArray[np.float64]
    prior: NDArray[np.float64]

    def combine(self, voices: Sequence[Shares]) -> NDArray[np.float64]:
        """Return the logarithm of the combined probabilities: (n, categories)."""
        scores: NDArray[np.float64] = self.prior + np.einsum(
            "v,vnc->nc", self.voices, np.stack([_logarithm(voice) for voice in voices])
        )
        combined: NDArray[np.float64] = scores - _log_sum(scores)
        return combined


def learn_weights(voices: Sequence[Shares], category: NDArray[np.integer], *, with_prior: bool = True) -> Weights:
    """Learn the weights from the sellers' categories (n,); -1 is a thing without one, which is left out."""
    count = voices[0].shape[1]
    rows = np.flatnonzero(category >= 0)
    if len(rows) > _MAX_TRAINING:
        rows = np.random.default_rng(0).choice(rows, _MAX_TRAINING, replace=False)
    inputs = np.stack([_logarithm(voice[rows]) for voice in voices], axis=2)
    own = category[rows]
    start = np.concatenate([np.full(len(voices), _TYPICAL_WEIGHT), np.zeros(count)])

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, prior = values[: len(voices)], values[len(voices) :]
        scores = inputs @ weights + prior
        logarithms = scores - _log_sum(scores)
        errors = np.exp(logarithms)
        errors[np.arange(len(own)), own] -= 1
        away = values - start
        gradient = np.concatenate([np.einsum("nc,ncv->v", errors, inputs), errors.sum(axis=0)])
        total = -logarithms[np.arange(len(own)), own].sum() + _SHRINKAGE * (away @ away)
        return float(total), gradient + 2 * _SHRINKAGE * away

    bounds = [(0, None)] * len(voices) + [(None, None) if with_prior else (0, 0)] * count
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return Weights(found[: len(voices)], found[len(voices) :])


def _logarithm(shares: Shares) -> NDArray[np.float64]:
    return np.asarray(np.log((np.asarray(shares, np.float64) + LEAST) / (1 + LEAST * shares.shape[1])))


def _log_sum(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    highest = scores.max(axis=1, keepdims=True)
    return np.asarray(highest + np.log(np.exp(scores - highest).sum(axis=1, keepdims=True)))

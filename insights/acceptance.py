"""From the evidence for another category to the probability that staff accept the suggestion. Pure.

A logistic curve over the log odds of the two categories, measured on listings that a moderator has judged
(docs/insights.md). Verdicts move it: they say how often suggestions of this strength, and from this category to that
one, were accepted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

# Measured, see docs/insights.md.
SLOPE, INTERCEPT = 0.57, -2.71
# Without the model's voices, the same odds mean less.
_FEWER_VOICES = (0.47, -3.05)
# How far verdicts may move the curve, and a pair of categories: standard deviations.
_SLOPE_DEVIATION, _INTERCEPT_DEVIATION, _PAIR_DEVIATION = 0.25, 1.0, 1.0


def comparable_odds(odds: NDArray[np.float64], heard: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Convert log odds (listings,) that lack the model's voices to what they would be with them."""
    slope, intercept = _FEWER_VOICES
    return np.where(heard, odds, (slope * odds + intercept - INTERCEPT) / SLOPE)


Pair = tuple[int, int]
"""The seller's category and the suggested one, by index."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A suggestion that staff have decided: its log odds, its categories, and whether it was accepted."""

    odds: float
    pair: Pair
    accepted: bool


@dataclass(frozen=True)
class Acceptance:
    """The curve, with an offset for pairs of categories that have verdicts."""

    slope: float = SLOPE
    intercept: float = INTERCEPT
    pairs: dict[Pair, float] = field(default_factory=dict)

    def probability(self, odds: NDArray[np.float64], pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """Return the probability that each suggestion is accepted, 0 to 1."""
        offsets = np.array([self.pairs.get(pair, 0.0) for pair in pairs])
        return np.asarray(1 / (1 + np.exp(-(self.slope * odds + self.intercept + offsets))))


def learn_acceptance(judged: Sequence[Judged]) -> Acceptance:
    """Move the curve by verdicts: the most probable one, given its usual place and these decisions."""
    if not judged:
        return Acceptance()
    pairs = sorted({item.pair for item in judged})
    numbers = {pair: number for number, pair in enumerate(pairs)}
    inputs = np.zeros((len(judged), 2 + len(pairs)))
    inputs[:, 0] = [item.odds for item in judged]
    inputs[:, 1] = 1
    inputs[np.arange(len(judged)), [2 + numbers[item.pair] for item in judged]] = 1
    accepted = np.array([item.accepted for item in judged], float)
    usual = np.concatenate([[SLOPE, INTERCEPT], np.zeros(len(pairs))])
    precision = 1 / np.square([_SLOPE_DEVIATION, _INTERCEPT_DEVIATION, *[_PAIR_DEVIATION] * len(pairs)])

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits, away = inputs @ values, values - usual
        total = np.logaddexp(0, logits).sum() - accepted @ logits + 0.5 * (precision * away) @ away
        return float(total), inputs.T @ (1 / (1 + np.exp(-logits)) - accepted) + precision * away

    bounds = [(0, None), *[(None, None)] * (1 + len(pairs))]
    slope, intercept, *offsets = minimize(loss, usual, jac=True, method="L-BFGS-B", bounds=bounds).x.tolist()
    return Acceptance(slope, intercept, dict(zip(pairs, offsets, strict=True)))

"""Calibration: cosine -> probability, on data whose true curve is known."""

import numpy as np
import pytest

from embedding.card import Calibration
from embedding.evaluation.calibration import fit, nearest_pairs, reliability
from embedding.evaluation.neighbours import exact_neighbours


def test_fit_finds_the_curve() -> None:
    """On pairs drawn from a known curve the fit recovers that curve, and its probabilities are reliable."""
    random = np.random.default_rng(0)
    cosines = random.uniform(0, 1, 20_000).astype(np.float32)
    truth = Calibration(slope=12.0, intercept=-8.0, pairs=1, same_item_pairs=1)
    curve = fit(cosines, random.uniform(size=len(cosines)) < truth.probability(cosines))
    assert curve is not None
    assert curve.slope == pytest.approx(12, rel=0.05)
    assert curve.intercept == pytest.approx(-8, rel=0.05)
    fresh = random.uniform(0, 1, 20_000).astype(np.float32)
    _, error = reliability(curve.probability(fresh), random.uniform(size=len(fresh)) < truth.probability(fresh))
    assert error < 0.02


def test_probability_rises_with_the_cosine() -> None:
    """The probability never falls as the cosine rises, and it stays between 0 and 1."""
    curve = Calibration(slope=15, intercept=-9, pairs=10, same_item_pairs=5)
    probabilities = curve.probability(np.linspace(-1, 1, 50).astype(np.float32))
    assert (np.diff(probabilities) > 0).all()
    assert 0 < probabilities[0] < 0.01
    assert 0.99 < probabilities[-1] < 1


@pytest.mark.parametrize("same", [True, False])
def test_one_kind_of_pairs(same: bool) -> None:
    """If all pairs show the same item, or none does, no curve is fitted."""
    assert fit(np.linspace(0, 1, 9).astype(np.float32), np.full(9, same)) is None


def test_overconfident_probabilities_have_a_large_error() -> None:
    """Probabilities of 1 that are right half of the time have an error of 0.5."""
    _, error = reliability(np.ones(100), np.arange(100) % 2 == 0)
    assert error == pytest.approx(0.5)


def test_pairs_are_queries_and_their_nearest() -> None:
    """Only query photos have pairs, with all photos but themselves; equal numbers mean the same item."""
    angles = np.radians([0, 1, 50, 51])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    cosines, same = nearest_pairs(embeddings, np.array([7, 7, 8, 9]), np.array([True, False, False, True]))
    assert same.tolist() == [True, False, False, False, False, False]
    assert cosines[0] == pytest.approx(np.cos(np.radians(1)), abs=1e-5)
    assert len(cosines) == 6


def test_identical_photos_do_not_hide_each_other() -> None:
    """Among identical photos, a photo is still not its own neighbour, and every row has the same length."""
    embeddings = np.tile(np.array([[1.0, 0.0]], np.float32), (6, 1))
    _, neighbours = exact_neighbours(embeddings, np.arange(6), 3)
    assert neighbours.shape == (6, 3)
    assert all(row not in nearest for row, nearest in enumerate(neighbours.tolist()))

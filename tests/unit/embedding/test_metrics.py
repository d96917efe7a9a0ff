"""Evaluation metrics, on cases small enough to count by hand."""

import numpy as np
import pandas as pd
import pytest

from embedding.evaluation.metrics import average, metrics_per_photo


def on_circle(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


# Photo:      0    1    2    3     4     5
DEGREES = (0.0, 10.0, 21.0, 90.0, 95.0, 101.0)
LISTINGS = np.array(["a", "b", "a", "c", "c", "d"])
CATEGORIES = np.array(["X", "Y", "X", "Y", "Y", "X"])


def test_recall_is_about_the_other_photo() -> None:
    """Only photos of listings with several photos are queries; a photo is not its own neighbour."""
    table = metrics_per_photo(on_circle(*DEGREES), LISTINGS, CATEGORIES)
    assert table["recall_at_1"].isna().tolist() == [False, True, False, False, False, True]
    # Photos 0 and 2 find photo 1, of another listing, first; 3 and 4 find each other.
    assert table["recall_at_1"].dropna().tolist() == [0.0, 0.0, 1.0, 1.0]
    assert table["recall_at_5"].dropna().tolist() == [1.0, 1.0, 1.0, 1.0]


def test_category_figures_exclude_the_own_listing() -> None:
    """A listing's other photo always has its category, so it counts only in the leaky figure."""
    table = metrics_per_photo(on_circle(*DEGREES), LISTINGS, CATEGORIES)
    assert table["leaky_category_p_at_1"].tolist() == [0.0, 0.0, 0.0, 1.0, 1.0, 0.0]
    # Photo 3 (Y): its own listing's photo 4 is left out, followed by 5 (X), 2 (X), 1 (Y), 0 (X).
    assert table["category_p_at_1"][3] == 0.0
    assert table["category_p_at_10"][3] == pytest.approx(1 / 4)
    assert table["category_vote"][3] == 0.0


def test_map_at_r_weighs_order() -> None:
    """R is the number of photos of the category in other listings; hits after R do not count."""
    listings = np.array(["a", "b", "c", "d", "e"])
    categories = np.array(["X", "X", "Y", "X", "Y"])
    table = metrics_per_photo(on_circle(0, 10, 20, 30, 40), listings, categories)
    # Photo 0: R = 2; nearest are X, Y: (1/1 + 0) / 2.
    assert table["category_map_at_r"][0] == pytest.approx(0.5)
    # Photo 4 (Y): R = 1; the nearest is X.
    assert table["category_map_at_r"][4] == 0.0


def test_a_category_of_one_listing_is_not_measured() -> None:
    """If no other listing has the category, there is nothing to find."""
    table = metrics_per_photo(on_circle(0, 10, 20), np.array(["a", "a", "b"]), np.array(["X", "X", "Y"]))
    assert table["category_p_at_1"].isna().all()


def test_the_interval_holds_the_mean_and_listings_together() -> None:
    """Photos of a listing are resampled together: the interval is wider than if they were independent."""
    random = np.random.default_rng(1)
    per_listing = random.integers(0, 2, 50).astype(float)
    listings = np.repeat([f"l{number}" for number in range(50)], 8)
    values = pd.Series(np.repeat(per_listing, 8))
    together = average(values, listings)
    independent = average(values, np.array([f"p{number}" for number in range(400)]))
    assert together.low < together.mean < together.high
    assert together.mean == pytest.approx(per_listing.mean())
    assert together.high - together.low > 2 * (independent.high - independent.low)
    assert together.queries == 400


def test_nothing_to_measure_is_not_zero() -> None:
    """Without any query the figure is NaN, not 0, which would look like a bad score."""
    table = metrics_per_photo(on_circle(0, 10), np.array(["a", "b"]), np.array(["X", "X"]))
    empty = average(table["recall_at_1"], np.array(["a", "b"]))
    assert np.isnan(empty.mean)
    assert empty.queries == 0

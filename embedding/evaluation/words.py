"""The figures and calibrations of a model with a text tower, on listings that it was not trained on."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from catalog.listing import Embeddings
from embedding.card import Calibration, CategoryWeights, ModelCard
from embedding.category_head import combine
from embedding.evaluation import calibration
from embedding.evaluation.category_voices import learn_weights
from embedding.evaluation.measurement import Measurement, Titles, measure
from embedding.text.stored_words import add_titles
from embedding.text.tower import TextTower


def measure_with_words(
    card: ModelCard,
    tower: TextTower,
    photos: pd.DataFrame,
    embeddings: Embeddings,
    probabilities: NDArray[np.float32] | None,
    *,
    calibrate_on: NDArray[np.bool_],
    measure_on: NDArray[np.bool_],
) -> tuple[ModelCard, Measurement, Embeddings]:
    """Measure a model with this tower; return its card with figures, the curve for words and the category weights.

    The measurement and the stored vectors of all photos (n, dim) are returned as well.

    `photos` (listing_id, photo_id, title, category, subcategory) are all photos, with their embeddings (n, dim) and
    `probabilities` (n, categories) by the photo; the masks (n,) mark those to calibrate and to measure on.
    """
    titles = titles_of(tower, CategoryWeights(), photos["title"].tolist(), embeddings, probabilities)
    weights, by_title, together = None, titles.by_title, titles.together
    if probabilities is not None and by_title is not None:
        numbers = {name: number for number, name in enumerate(card.categories)}
        own = np.array([numbers.get(name, -1) for name in photos["category"]])
        voices = [probabilities[calibrate_on], by_title[calibrate_on]]
        learned = learn_weights(voices, own[calibrate_on], with_prior=False).voices
        weights = CategoryWeights(photo=float(learned[0]), title=float(learned[1]))
        together = combine(probabilities, by_title, weights)
    measured = None if probabilities is None else probabilities[measure_on]
    of_measured = replace(titles, together=together).at(measure_on)
    measurement = measure(photos[measure_on], embeddings[measure_on], measured, card.categories, of_measured)
    updates = {
        "metrics": card.metrics | measurement.figures(),
        "words_calibration": _calibrate(titles.embeddings, titles.stored, photos, calibrate_on),
        "category_weights": weights,
    }
    return card.model_copy(update=updates), measurement, titles.stored


def titles_of(
    tower: TextTower,
    weights: CategoryWeights,
    titles: Sequence[str],
    embeddings: Embeddings,
    probabilities: NDArray[np.float32] | None,
) -> Titles:
    """Return what a model makes of the titles of photos, with their embeddings (n, dim) and category probabilities."""
    of_titles = tower.embed(titles)
    by_title = None if probabilities is None else tower.classify(titles)
    return Titles(
        of_titles,
        add_titles(embeddings, of_titles, tower.config.title_share),
        by_title,
        None if probabilities is None or by_title is None else combine(probabilities, by_title, weights),
    )


def _calibrate(
    titles: Embeddings, stored: Embeddings, photos: pd.DataFrame, queries: NDArray[np.bool_]
) -> Calibration | None:
    """Fit the curve on pairs of a title and one of its nearest photos of another listing.

    The pair agrees if both are of one kind: their categories and subcategories are equal.
    """
    listing = pd.factorize(photos["listing_id"])[0]
    kind = pd.factorize(photos["category"] + " / " + photos["subcategory"])[0]
    rows = np.flatnonzero(queries)[np.unique(listing[queries], return_index=True)[1]]
    scores = titles[rows] @ stored.T
    scores[listing[rows][:, None] == listing] = -np.inf
    nearest = np.argsort(-scores, axis=1)[:, : calibration.NEAREST]
    same = kind[nearest] == kind[rows][:, None]
    cosines = np.take_along_axis(scores, nearest, axis=1)
    of_others = cosines > -np.inf  # a small catalogue may have fewer
    return calibration.fit(cosines[of_others], same[of_others])

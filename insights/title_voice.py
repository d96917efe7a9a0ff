"""What a listing's title says about its category, learned from the other listings of the collection.

Each title is judged by a classifier that was trained without it: a listing never votes on itself. Equal titles stay
together, so that a listing that was posted twice does not vote on its copy either.
"""

import warnings
from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from catalog.progress import Progress
from embedding.text.features import extract_features, words_of
from embedding.text.tower import Vocabulary

FOLDS = 5
_MIN_LISTINGS = 2  # a feature of one listing says nothing about others
_MAX_TRAINING = 20_000  # listings per fold: more take minutes and change little
_STRENGTH = 5.0  # inverse regularisation
_ITERATIONS = 60


def out_of_fold(
    titles: Sequence[str], category: NDArray[np.int32], count: int, progress: Progress
) -> NDArray[np.float32]:
    """Return the category probabilities of each listing by its title, learned from the other listings: (n, count).

    `category` (n,) are numbers below `count`, -1 for a listing without a category, which is not learned from. Uniform
    if there is nothing to learn from, or a title has no word that another one has.
    """
    probabilities = np.full((len(titles), count), 1 / max(count, 1), np.float32)
    features = _features(titles)
    fold = np.array([crc32(" ".join(words_of(title)).encode()) % FOLDS for title in titles])
    random = np.random.default_rng(0)
    with progress("Learning titles", FOLDS) as advance:
        for number in range(FOLDS):
            training = np.flatnonzero((fold != number) & (category >= 0))
            if len(training) > _MAX_TRAINING:
                training = np.sort(random.choice(training, _MAX_TRAINING, replace=False))
            judged = np.flatnonzero((fold == number) & (np.diff(features.indptr) > 0))
            if len(judged) and len(np.unique(category[training])) > 1:
                classifier = LogisticRegression(C=_STRENGTH, max_iter=_ITERATIONS)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)  # the last iterations change no decision
                    classifier.fit(features[training], category[training])
                probabilities[judged] = 0
                probabilities[np.ix_(judged, classifier.classes_)] = classifier.predict_proba(features[judged])
            advance(1)
    return probabilities


def _features(titles: Sequence[str]) -> csr_array:
    """Return the tf-idf weights of words and of pieces of words, each group at unit length: (n, features)."""
    extracted = [extract_features(title) for title in titles]
    vocabulary = Vocabulary.of(extracted, at_least=_MIN_LISTINGS)
    if not len(vocabulary.hashes):
        return csr_array((len(titles), 1), dtype=np.float32)
    found = vocabulary.look_up(extracted)
    return csr_array((found.weights, (found.text, found.rows)), shape=(len(titles), len(vocabulary.hashes)))

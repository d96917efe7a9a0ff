"""Learn the text tower: the titles of a data set -> the embeddings of their photos, which stay as they are.

Features get vectors by latent semantic analysis (Deerwester et al., "Indexing by latent semantic analysis", 1990), two
layers map their sum to the embedding. Titles and photos of a batch are matched in both directions: Radford et al.,
"Learning Transferable Visual Models From Natural Language Supervision" (CLIP), 2021, with the photos' tower frozen as
in Zhai et al., "LiT: Zero-Shot Transfer with Locked-image text Tuning", 2022. Categories come from a logistic
regression on the features.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.extmath import randomized_svd
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, normalize

from catalog.errors import ExportUnreadable
from catalog.listing import Embeddings
from catalog.progress import Progress
from embedding.card import HeadConfig, TextConfig
from embedding.int8_weights import Weights
from embedding.text.features import Features, extract_features
from embedding.text.tower import FeatureVectors, Vocabulary

MAX_FEATURES = 22_000
"""With 32 bytes each and the layers, less than 2 MB."""

TITLE_SHARE = 0.45
"""Chosen on validation listings, see docs/decisions/0039."""

_MIN_LISTINGS = 2  # a feature of one listing teaches nothing about others
_EPOCHS, _BATCH, _LEARNING_RATE, _WEIGHT_DECAY = 60, 512, 1e-3, 0.5
_WARM_UP_STEPS = 50
_TEMPERATURE = 0.05
_INPUT_DROPOUT, _DROPOUT = 0.1, 0.4
# Categories are learned beside the photos, because they make neighbours of things of one kind.
_CATEGORY_WEIGHT, _LABEL_SMOOTHING = 0.5, 0.1
# A description teaches words for the category; it says less about the thing than a title, and little after its start.
_DESCRIPTION_WEIGHT, _DESCRIPTION_CHARACTERS = 0.5, 400
_STRENGTH, _ITERATIONS = 5.0, 100  # of the logistic regression: inverse regularisation
_UNSEEN = 20.0  # how much less probable a category is that no listing of the lesson has


@dataclass(frozen=True, slots=True)
class Words:
    """A learned text tower: its configuration and its weights, named as in a model folder."""

    config: TextConfig
    weights: Weights


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the tower learns from: titles and descriptions of listings, the photos of each, and its category.

    `photos` (listings,) has for each listing the rows of `embeddings` (photos, dim); `category` (listings,) are
    numbers in encoder order, or None for a model without a category head.
    """

    titles: Sequence[str]
    descriptions: Sequence[str]
    photos: Sequence[NDArray[np.int64]]
    embeddings: Embeddings
    category: NDArray[np.int64] | None

    @classmethod
    def of(cls, photos: pd.DataFrame, embeddings: Embeddings, categories: Sequence[str]) -> "Lesson":
        """Take photos (listing_id, title, description, category) and their embeddings (n, dim), in the same order."""
        numbers_of_listings = pd.factorize(photos["listing_id"])[0]
        rows = np.split(
            np.argsort(numbers_of_listings, kind="stable"), np.cumsum(np.bincount(numbers_of_listings))[:-1]
        )
        listings = photos.drop_duplicates("listing_id")
        numbers = {name: number for number, name in enumerate(categories)}
        return cls(
            listings["title"].tolist(),
            listings["description"].str[:_DESCRIPTION_CHARACTERS].tolist(),
            rows,
            embeddings,
            np.array([numbers[name] for name in listings["category"]]) if categories else None,
        )


class _Layers(nn.Module):
    """The layers of `embedding.text.tower`, with dropout and a category layer that is not saved."""

    def __init__(self, inputs: NDArray[np.float32], config: TextConfig, head: HeadConfig) -> None:
        super().__init__()
        self.hidden = nn.Linear(config.width, config.hidden)
        self.embedding = nn.Linear(config.hidden, head.dim)
        self.category = nn.Linear(config.hidden, max(head.categories, 1))
        self.mean, self.deviation = inputs.mean(axis=0), float(inputs.std(axis=0).mean()) + 1e-12

    def forward(self, inputs: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        """Return embeddings (n, dim) of unit length and logits (n, categories)."""
        scaled = torch.from_numpy((inputs - self.mean) / self.deviation)
        hidden = torch.relu(self.hidden(dropout(scaled, _INPUT_DROPOUT, self.training)))
        hidden = dropout(hidden, _DROPOUT, self.training)
        return normalize(self.embedding(hidden), dim=1), self.category(hidden)

    @torch.no_grad()
    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return the weights to store, with the scaling of the inputs in the first layer."""
        hidden = self.hidden.weight.numpy() / self.deviation
        return {
            "text.hidden.weight": hidden,
            "text.hidden.bias": self.hidden.bias.numpy() - hidden @ self.mean,
            "text.embedding.weight": self.embedding.weight.numpy(),
            "text.embedding.bias": self.embedding.bias.numpy(),
        }


def learn_words(lesson: Lesson, head: HeadConfig, title_share: float, *, seed: int, progress: Progress) -> Words:
    """Learn a text tower for these embeddings; takes about two minutes for 6,000 listings on two cores.

    Raises ExportUnreadable if the titles have no words in common.
    """
    titles, descriptions = (
        [extract_features(text) for text in texts] for texts in (lesson.titles, lesson.descriptions)
    )
    vocabulary = _choose_vocabulary(titles)
    features = _matrix(vocabulary, titles)
    config = TextConfig(features=len(vocabulary.hashes), title_share=title_share)
    vectors = _analyse(features, config, seed)
    layers = _train(np.asarray(features @ vectors.of(np.arange(config.features))), lesson, config, head, seed, progress)
    weights: dict[str, NDArray[Any]] = layers.weights() | {
        "text.hashes": vocabulary.hashes,
        "text.idf": vocabulary.idf,
        "text.codes": vectors.codes,
        "text.codebook": vectors.codebook,
        "text.lengths": vectors.lengths,
    }
    if lesson.category is not None:
        described = np.flatnonzero([len(text.words) > 0 for text in descriptions])
        texts = vstack([features, _matrix(vocabulary, [descriptions[row] for row in described])]).tocsr()
        categories = np.concatenate([lesson.category, lesson.category[described]])
        counts = np.repeat([1, _DESCRIPTION_WEIGHT], [len(titles), len(described)])
        weights |= _learn_categories(texts, categories, counts, head.categories)
    return Words(config, weights)


def half(weights: Weights) -> dict[str, NDArray[Any]]:
    """Convert weights to float16; integers stay."""
    return {
        name: tensor.astype(np.float16) if np.issubdtype(tensor.dtype, np.floating) else tensor
        for name, tensor in weights.items()
    }


def _choose_vocabulary(titles: Sequence[Features]) -> Vocabulary:
    vocabulary = Vocabulary.of(titles, at_least=_MIN_LISTINGS, at_most=MAX_FEATURES)
    if not len(vocabulary.hashes):
        raise ExportUnreadable(
            "No two titles have a word in common: there is nothing to learn.", hint="Use an export with more listings."
        )
    # In the precision that is stored.
    return Vocabulary(vocabulary.hashes, vocabulary.idf.astype(np.float16).astype(np.float32))


def _matrix(vocabulary: Vocabulary, texts: Sequence[Features]) -> csr_array:
    """Return the weights of the features of texts: (texts, features)."""
    found = vocabulary.look_up(texts)
    return csr_array((found.weights, (found.text, found.rows)), shape=(len(texts), len(vocabulary.hashes)))


def _analyse(features: csr_array, config: TextConfig, seed: int) -> FeatureVectors:
    """Give every feature a vector, in the form that is stored."""
    directions = min(config.width, *features.shape)
    _, _, right = randomized_svd(features, directions, n_iter=2, random_state=seed)
    vectors = np.zeros((features.shape[1], config.width), np.float32)
    vectors[:, :directions] = right.T
    lengths = np.linalg.norm(vectors, axis=1).astype(np.float16).astype(np.float32)
    unit = vectors / np.maximum(lengths, 1e-6)[:, None]
    pieces = config.width // config.piece
    quantizer = faiss.ProductQuantizer(config.width, pieces, 8)
    quantizer.cp.niter = 10
    quantizer.cp.seed = seed + 1
    quantizer.cp.min_points_per_centroid = 1
    # FAISS needs a point for each of the 256 pieces.
    quantizer.train(np.ascontiguousarray(np.resize(unit, (max(len(unit), 256), config.width))))
    codebook = faiss.vector_to_array(quantizer.centroids).reshape(pieces, 256, config.piece)
    return FeatureVectors(quantizer.compute_codes(unit), codebook, lengths)


def _train(
    inputs: NDArray[np.float32], lesson: Lesson, config: TextConfig, head: HeadConfig, seed: int, progress: Progress
) -> _Layers:
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    layers = _Layers(inputs, config, head)
    scale = nn.Parameter(torch.tensor(math.log(1 / _TEMPERATURE)))
    optimizer = torch.optim.AdamW([*layers.parameters(), scale], lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    embeddings = torch.from_numpy(lesson.embeddings)
    steps, step = _EPOCHS * math.ceil(len(inputs) / _BATCH), 0
    with progress("Learning words", _EPOCHS) as advance:
        for _ in range(_EPOCHS):
            order = random.permutation(len(inputs))
            for start in range(0, len(order), _BATCH):
                batch = order[start : start + _BATCH]
                photos = [random.choice(lesson.photos[row]) for row in batch]
                outputs, logits = layers(inputs[batch])
                likeness = scale.exp().clamp(max=100) * outputs @ embeddings[photos].T
                own = torch.arange(len(batch))
                loss = (cross_entropy(likeness, own) + cross_entropy(likeness.T, own)) / 2
                if lesson.category is not None:
                    category = torch.from_numpy(lesson.category[batch])
                    loss += _CATEGORY_WEIGHT * cross_entropy(logits, category, label_smoothing=_LABEL_SMOOTHING)
                optimizer.param_groups[0]["lr"] = (
                    _LEARNING_RATE * min(1, (step + 1) / _WARM_UP_STEPS) * (1 + math.cos(math.pi * step / steps)) / 2
                )
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                step += 1
            advance(1)
    return layers.eval()


def _learn_categories(
    texts: csr_array, categories: NDArray[np.int64], counts: NDArray[np.float64], number: int
) -> dict[str, NDArray[np.float32]]:
    """Learn category logits (categories, features) from texts (n, features), each counted `counts` times."""
    classifier = LogisticRegression(C=_STRENGTH, max_iter=_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last iterations change no decision
        classifier.fit(texts, categories, sample_weight=counts)
    weight = np.zeros((number, texts.shape[1]), np.float32)
    bias = np.full(number, -_UNSEEN, np.float32)
    seen = classifier.classes_
    # With two classes there is one row, for the second.
    weight[seen[-len(classifier.coef_) :]] = classifier.coef_
    bias[seen] = 0
    bias[seen[-len(classifier.coef_) :]] = classifier.intercept_
    return {"text.category.weight": weight, "text.category.bias": bias}

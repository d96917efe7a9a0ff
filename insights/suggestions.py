"""Listings whose category is probably wrong, according to their title, their photos and their neighbours. Pure.

Each voice gives every category a probability. A listing never votes on itself: its title is judged by a classifier that
was trained without it, its neighbours are other listings' photos, and the model's own opinion counts only for listings
that it was not trained on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalog.progress import Progress
from catalog.verdicts import Decision
from embedding.embedder import Embedder
from embedding.evaluation.category_voices import Shares, learn_weights
from insights.acceptance import Judged, comparable_odds, learn_acceptance
from insights.neighbours.graph import Graph
from insights.snapshot import Snapshot, blocks
from insights.title_evidence import TitleWord, words_for
from insights.title_voice import out_of_fold

# Fewer than one in ten suggestions below this would be accepted: they are not worth a look.
MIN_CERTAINTY = 0.1
EVIDENCE = 6
_BLOCK = 4_096

Decided = Mapping[tuple[str, str, str], Decision]
"""Staff's decisions by listing id, seller's category and suggested category."""


@dataclass(frozen=True)
class VoiceProbabilities:
    """One voice's probabilities of the suggested category and of the seller's."""

    suggested: float
    seller: float


@dataclass(frozen=True)
class Suggestion:
    """A listing by its first row, its photo that disagrees most by row, and two categories by index.

    `certainty` is the probability that a moderator would accept the suggestion. `photo` and `title` are None if the
    voice is not heard: the model does not know the seller's category or was trained on the listing, or the title has
    no word that another title has. `words` of the title speak for the suggested category.
    """

    listing_row: int
    photo_row: int
    category: int
    suggested: int
    certainty: float
    photo: VoiceProbabilities | None
    title: VoiceProbabilities | None
    neighbour: VoiceProbabilities
    words: tuple[TitleWord, ...]
    neighbours: NDArray[np.int32]
    similarities: NDArray[np.float32]


@dataclass(frozen=True)
class _Voices:
    """The voices on each listing: (listings, categories). `heard` (listings,) marks those that the model judges."""

    photo: Shares | None
    model_title: Shares | None
    other_titles: Shares
    neighbours: Shares
    heard: NDArray[np.bool_]

    def groups(self) -> list[tuple[NDArray[np.int64], list[Shares]]]:
        """Return the listings with and without the model's voices, and the voices on each."""
        of_model = [voice for voice in (self.photo, self.model_title) if voice is not None]
        always = [self.other_titles, self.neighbours]
        parts = [(np.flatnonzero(self.heard), [*of_model, *always]), (np.flatnonzero(~self.heard), always)]
        return [(rows, [voice[rows] for voice in voices]) for rows, voices in parts if len(rows)]


def predict(embedder: Embedder, snapshot: Snapshot) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
    """Return the index of each photo's most probable category and its probability; None without a category head."""
    count = len(snapshot.listing)
    names, confidence = np.empty(count, np.int32), np.empty(count, np.float32)
    for start in range(0, count, _BLOCK):
        block = slice(start, start + _BLOCK)
        probabilities = embedder.classify(snapshot.embeddings[block])
        if probabilities is None:
            return None
        names[block] = probabilities.argmax(axis=1)
        confidence[block] = probabilities.max(axis=1)
    return names, confidence


def suggestions(
    snapshot: Snapshot,
    graph: Graph,
    embedder: Embedder,
    in_training: NDArray[np.bool_],
    catch_all: Sequence[str],
    decided: Decided,
    progress: Progress,
) -> list[Suggestion]:
    """Return the listings that are probably in a wrong category, the most certain first.

    `in_training` (photos,) marks those that the model was trained on. Catch-all categories and the missing category ''
    are never suggested. Accepted suggestions count as the listing's category wherever others learn from it.
    """
    starts = snapshot.first_rows()
    listing_ids = snapshot.photos["listing_id"].take(pa.array(starts)).to_pylist()
    titles = snapshot.photos["title"].take(pa.array(starts)).to_pylist()
    own = snapshot.category[starts]
    numbers = {name: number for number, name in enumerate(snapshot.categories)}
    learned = _with_accepted(own, listing_ids, snapshot.categories, numbers, decided)
    learned[learned == numbers.get("", -1)] = -1
    voices = _collect_voices(snapshot, graph, embedder, in_training[starts], titles, own, learned, progress)
    scores = np.empty(voices.neighbours.shape)
    for rows, heard in voices.groups():
        scores[rows] = learn_weights(heard, learned[rows]).combine(heard)
    rows = np.arange(len(own))
    own_score = scores[rows, own].copy()
    possible = np.array([name != "" and name not in catch_all for name in snapshot.categories])
    others = np.where(possible, scores, -np.inf)
    others[rows, own] = -np.inf
    if not np.isfinite(others).any():
        return []
    best = others.argmax(axis=1)
    odds = comparable_odds(others[rows, best] - own_score, voices.heard)
    pairs = list(zip(own.tolist(), best.tolist(), strict=True))
    judged = [
        Judged(float(odds[row]), pairs[row], decision == "accept")
        for row in rows.tolist()
        if (decision := decided.get(_question(listing_ids[row], pairs[row], snapshot.categories)))
        in {"accept", "reject"}
    ]
    certainty = learn_acceptance(judged).probability(odds, pairs)
    listed = np.flatnonzero(np.isfinite(odds) & (certainty >= MIN_CERTAINTY))
    listed = listed[np.lexsort((listed, -certainty[listed]))]
    words = words_for([(titles[row], pairs[row]) for row in listed.tolist()], titles, learned)
    return [
        _suggestion(snapshot, graph, embedder, voices, int(row), pairs[row], float(certainty[row]), evidence)
        for row, evidence in zip(listed.tolist(), words, strict=True)
    ]


def _question(listing_id: str, pair: tuple[int, int], categories: list[str]) -> tuple[str, str, str]:
    return listing_id, categories[pair[0]], categories[pair[1]]


def _with_accepted(
    own: NDArray[np.int32],
    listing_ids: list[str],
    categories: list[str],
    numbers: Mapping[str, int],
    decided: Decided,
) -> NDArray[np.int32]:
    learned = own.copy()
    accepted = {
        (listing_id, category): suggested
        for (listing_id, category, suggested), decision in decided.items()
        if decision == "accept" and suggested in numbers
    }
    for row, listing_id in enumerate(listing_ids if accepted else []):
        if suggested := accepted.get((listing_id, categories[own[row]])):
            learned[row] = numbers[suggested]
    return learned


def _collect_voices(
    snapshot: Snapshot,
    graph: Graph,
    embedder: Embedder,
    in_training: NDArray[np.bool_],
    titles: list[str],
    own: NDArray[np.int32],
    learned: NDArray[np.int32],
    progress: Progress,
) -> _Voices:
    count, starts = len(snapshot.categories), snapshot.first_rows()
    names = embedder.card.categories
    known = np.array([name in names for name in snapshot.categories])
    places = [names.index(name) for name in snapshot.categories if name in names]
    of_photo = np.repeat(learned, np.diff(starts, append=len(snapshot.listing)))
    near, head = np.zeros((len(starts), count), np.float32), np.zeros((len(starts), count), np.float32)
    first = 0
    for begin, end in blocks(starts, len(snapshot.listing), _BLOCK):
        inside = starts[(starts >= begin) & (starts < end)] - begin
        listings, sizes = slice(first, first + len(inside)), np.diff(inside, append=end - begin)[:, None]
        near[listings] = np.add.reduceat(_neighbour_shares(graph, of_photo, slice(begin, end), count), inside) / sizes
        if places:
            probabilities = embedder.classify(snapshot.embeddings[begin:end])
            assert probabilities is not None  # noqa: S101 - the model has names of categories
            head[listings, :] = _spread(np.add.reduceat(probabilities[:, places], inside) / sizes, known)
        first += len(inside)
    by_title = embedder.words.classify(titles) if places and embedder.words else None
    return _Voices(
        head if places else None,
        None if by_title is None else _spread(by_title[:, places], known),
        out_of_fold(titles, learned, count, progress),
        near,
        ~in_training & known[own] if places else np.zeros(len(starts), bool),
    )


def _spread(probabilities: NDArray[np.floating], known: NDArray[np.bool_]) -> Shares:
    """Put the columns of the categories that the model knows in their places: (n, categories)."""
    spread = np.zeros((len(probabilities), len(known)), np.float32)
    spread[:, known] = probabilities
    return spread


def _neighbour_shares(graph: Graph, category: NDArray[np.int32], rows: slice, count: int) -> NDArray[np.float64]:
    near = graph.rows[rows]
    is_heard = (near >= 0) & (category[near] >= 0)
    photo = np.broadcast_to(np.arange(len(near))[:, None], near.shape)[is_heard]
    votes = np.bincount(photo * count + category[near[is_heard]], minlength=len(near) * count).reshape(len(near), count)
    return np.asarray(votes / np.maximum(is_heard.sum(axis=1, keepdims=True), 1))


def _suggestion(
    snapshot: Snapshot,
    graph: Graph,
    embedder: Embedder,
    voices: _Voices,
    listing: int,
    pair: tuple[int, int],
    certainty: float,
    words: tuple[TitleWord, ...],
) -> Suggestion:
    own, suggested = pair
    starts = snapshot.first_rows()
    begin = int(starts[listing])
    end = int(starts[listing + 1]) if listing + 1 < len(starts) else len(snapshot.listing)
    by_photo = _neighbour_shares(graph, snapshot.category, slice(begin, end), len(snapshot.categories))[:, suggested]
    name = snapshot.categories[suggested]
    if name in embedder.card.categories and (head := embedder.classify(snapshot.embeddings[begin:end])) is not None:
        by_photo = by_photo + head[:, embedder.card.categories.index(name)]
    photo = begin + int(by_photo.argmax())
    is_present = graph.rows[photo] >= 0
    rows, cosines = graph.rows[photo][is_present], graph.cosines[photo][is_present]
    order = np.lexsort((-cosines, snapshot.category[rows] != suggested))[:EVIDENCE]
    heard = bool(voices.heard[listing])

    def voice(shares: Shares | None) -> VoiceProbabilities | None:
        if shares is None:
            return None
        return VoiceProbabilities(float(shares[listing, suggested]), float(shares[listing, own]))

    title = voices.model_title if heard and voices.model_title is not None else voices.other_titles
    of_neighbours = voice(voices.neighbours)
    assert of_neighbours  # noqa: S101 - neighbours are always heard
    return Suggestion(
        listing_row=begin,
        photo_row=photo,
        category=own,
        suggested=suggested,
        certainty=certainty,
        photo=voice(voices.photo) if heard else None,
        title=voice(title),
        neighbour=of_neighbours,
        words=words,
        neighbours=rows[order],
        similarities=cosines[order],
    )

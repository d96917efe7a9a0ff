"""Descriptions of categories and of clusters on the map: sizes, words and positions. Pure."""

import numpy as np
from numpy.typing import NDArray

from insights.map_layout import Places, densest_point
from insights.result_tables import Predicted
from insights.snapshot import Snapshot
from insights.summary import CategorySummary, Cluster
from insights.title_words import TitleWords

_WORDS = 5


def categories(
    snapshot: Snapshot, words: TitleWords, on_map: NDArray[np.int64], places: Places
) -> list[CategorySummary]:
    """Return size, words and position of each category. `places` (m, 2) are the positions of the rows `on_map` (m,)."""
    firsts = snapshot.first_rows()
    summaries = []
    for number, name in enumerate(snapshot.categories):
        listings = np.flatnonzero(snapshot.category[firsts] == number)
        mapped = places[snapshot.category[on_map] == number]
        x, y = densest_point(mapped) if len(mapped) else (0.0, 0.0)
        summaries.append(
            CategorySummary(
                category=name,
                listings=len(listings),
                photos=int((snapshot.category == number).sum()),
                words=words.of(listings, _WORDS),
                x=x,
                y=y,
            )
        )
    return summaries


def cluster(
    snapshot: Snapshot,
    words: TitleWords,
    on_map: NDArray[np.int64],
    places: Places,
    rows: NDArray[np.int64],
) -> Cluster:
    """Describe a cluster of the map by its `rows` of `places`."""
    firsts = snapshot.first_rows()
    listings = np.unique(np.searchsorted(firsts, on_map[rows], side="right") - 1)
    x, y = np.median(places[rows], axis=0).tolist()
    largest = int(np.bincount(snapshot.category[on_map[rows]]).argmax())
    return Cluster(x=x, y=y, photos=len(rows), category=snapshot.categories[largest], words=words.of(listings, _WORDS))


def confusion(snapshot: Snapshot, predicted: Predicted | None, count: int) -> list[list[int]]:
    """Count photos by the seller's category and the `count` categories of the model; rows are empty without a head."""
    if predicted is None:
        return [[] for _ in snapshot.categories]
    cells = np.bincount(
        snapshot.category.astype(np.int64) * count + predicted[0], minlength=len(snapshot.categories) * count
    )
    table: list[list[int]] = cells.reshape(-1, count).tolist()
    return table

"""Categories and dense places in numbers and words. Pure."""

import numpy as np
from numpy.typing import NDArray

from insights.map_layout import Places, densest
from insights.result_tables import Predicted
from insights.snapshot import Snapshot
from insights.summary import CategorySummary, Cluster
from insights.title_words import TitleWords

_WORDS = 5


def categories(seen: Snapshot, words: TitleWords, on_map: NDArray[np.int64], places: Places) -> list[CategorySummary]:
    """Size, words and place of each category. `places` are those of the rows `on_map`."""
    firsts = seen.first_rows()
    found = []
    for number, name in enumerate(seen.categories):
        listings = np.flatnonzero(seen.category[firsts] == number)
        mapped = places[seen.category[on_map] == number]
        x, y = densest(mapped) if len(mapped) else (0.0, 0.0)
        found.append(
            CategorySummary(
                category=name,
                listings=len(listings),
                photos=int((seen.category == number).sum()),
                words=words.of(listings, _WORDS),
                x=x,
                y=y,
            )
        )
    return found


def cluster(
    seen: Snapshot,
    words: TitleWords,
    on_map: NDArray[np.int64],
    places: Places,
    rows: NDArray[np.int64],
) -> Cluster:
    """Describe a dense place: `rows` of the map lie there."""
    firsts = seen.first_rows()
    listings = np.unique(np.searchsorted(firsts, on_map[rows], side="right") - 1)
    x, y = np.median(places[rows], axis=0).tolist()
    most = int(np.bincount(seen.category[on_map[rows]]).argmax())
    return Cluster(x=x, y=y, photos=len(rows), category=seen.categories[most], words=words.of(listings, _WORDS))


def confusion(seen: Snapshot, predicted: Predicted | None, count: int) -> list[list[int]]:
    """Photos by the seller's category and the `count` categories of the model; rows are empty without a head."""
    if predicted is None:
        return [[] for _ in seen.categories]
    cells = np.bincount(seen.category.astype(np.int64) * count + predicted[0], minlength=len(seen.categories) * count)
    table: list[list[int]] = cells.reshape(-1, count).tolist()
    return table

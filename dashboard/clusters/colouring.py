"""How the points of the map are coloured, and the legend that says so."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.widgets.categories import COLOURS
from dashboard.widgets.tiles import price_in_words
from search_api.schemas import MapColumns

# Low to high; each is told from white and from black.
SCALE = ("#3b6fd4", "#3a97c9", "#2fae9b", "#4bb062", "#9ab02f", "#d9a022", "#e0702c", "#d1362f")
UNKNOWN = "#8a8f98"


@dataclass(frozen=True)
class Colouring:
    """For each point its place in `labels` and `colours`."""

    places: list[int]
    labels: list[str]
    colours: list[str]

    def counts(self, among: Sequence[int]) -> dict[str, int]:
        """How many of these points each label has, in the order of the labels."""
        counts = Counter(self.places[point] for point in among)
        return {label: counts[place] for place, label in enumerate(self.labels) if counts[place]}

    @property
    def by_label(self) -> dict[str, str]:
        """The colour of each label."""
        return dict(zip(self.labels, self.colours, strict=True))


def colour_by(columns: MapColumns, by: str) -> Colouring:
    """Colour the points by what is known of them."""
    if by == "price":
        return _by_price(columns)
    if by == "confidence":
        return _by_steps(columns.confidence, [0.2, 0.4, 0.6, 0.8], lambda value: f"{value:.0%}")
    return _by_name(columns.category if by == "category" else columns.subcategory)


def _by_name(names: Sequence[str]) -> Colouring:
    """Each of the most frequent names has its own colour; the rest share one."""
    frequent = [name for name, _ in Counter(names).most_common()]
    own = frequent if len(frequent) <= len(COLOURS) else frequent[: len(COLOURS) - 1]
    place = {name: number for number, name in enumerate(own)}
    places = [place.get(name, len(own)) for name in names]
    labels, colours = [name or "none" for name in own], COLOURS[: len(own)]
    if len(own) < len(frequent):
        labels, colours = [*labels, f"{len(frequent) - len(own)} others"], [*colours, UNKNOWN]
    return Colouring(places, labels, colours)


def _by_price(columns: MapColumns) -> Colouring:
    """Steps that hold about equally many; their bounds are round."""
    known = [price for price in columns.price if price is not None]
    currencies = set(columns.currency) - {""}
    currency = currencies.pop() if len(currencies) == 1 else ""
    bounds = np.quantile(known, np.linspace(0, 1, len(SCALE) + 1)[1:-1]).tolist() if known else []
    return _by_steps(
        columns.price, sorted({_round(bound) for bound in bounds if bound > 0}), lambda value: _short(value, currency)
    )


def _by_steps(values: Sequence[float | None], bounds: Sequence[float], spell: Callable[[float], str]) -> Colouring:
    steps = len(bounds) + 1
    unknown = steps
    places = [unknown if value is None else int(np.searchsorted(bounds, value, side="right")) for value in values]
    labels = [
        *([f"below {spell(bounds[0])}"] if bounds else ["any"]),
        *(f"{spell(low)} to {spell(high)}" for low, high in itertools.pairwise(bounds)),
        *([f"{spell(bounds[-1])} or more"] if bounds else []),
    ]
    colours = [SCALE[round(step * (len(SCALE) - 1) / max(steps - 1, 1))] for step in range(steps)]
    return Colouring(places, [*labels, "unknown"], [*colours, UNKNOWN])


def _round(value: float) -> float:
    """To two digits that matter."""
    return round(value, 1 - math.floor(math.log10(value)))


def _short(value: float, currency: str) -> str:
    return price_in_words(value, currency).removesuffix(".00")

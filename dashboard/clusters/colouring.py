"""The colours of the points of the map, and their legend."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.widgets.categories import COLOURS
from dashboard.widgets.tiles import price_in_words
from search_api.schemas import MapColumns

# Low to high; each is visible on white and on black.
SCALE = ("#3b6fd4", "#3a97c9", "#2fae9b", "#4bb062", "#9ab02f", "#d9a022", "#e0702c", "#d1362f")
UNKNOWN = "#8a8f98"


@dataclass(frozen=True)
class Colouring:
    """Labels with their colours. `label_indices` has the index of each point's label."""

    label_indices: list[int]
    labels: list[str]
    colours: list[str]

    def counts(self, among: Sequence[int]) -> dict[str, int]:
        """Count the points `among` that have each label, in the order of the labels; without zeros."""
        counts = Counter(self.label_indices[point] for point in among)
        return {label: counts[index] for index, label in enumerate(self.labels) if counts[index]}

    @property
    def by_label(self) -> dict[str, str]:
        """The colour of each label."""
        return dict(zip(self.labels, self.colours, strict=True))


def colour_by(columns: MapColumns, by: str) -> Colouring:
    """Colour the points by category, subcategory, price or confidence."""
    if by == "price":
        return _by_price(columns)
    if by == "confidence":
        return _by_steps(columns.confidence, [0.2, 0.4, 0.6, 0.8], lambda value: f"{value:.0%}")
    return _by_name(columns.category if by == "category" else columns.subcategory)


def _by_name(names: Sequence[str]) -> Colouring:
    """Give each of the most frequent names its own colour; the rest share one."""
    frequent = [name for name, _ in Counter(names).most_common()]
    shown = frequent if len(frequent) <= len(COLOURS) else frequent[: len(COLOURS) - 1]
    index = {name: number for number, name in enumerate(shown)}
    label_indices = [index.get(name, len(shown)) for name in names]
    labels, colours = [name or "none" for name in shown], COLOURS[: len(shown)]
    if len(shown) < len(frequent):
        labels, colours = [*labels, f"{len(frequent) - len(shown)} others"], [*colours, UNKNOWN]
    return Colouring(label_indices, labels, colours)


def _by_price(columns: MapColumns) -> Colouring:
    """Colour by price, in steps with round bounds and about equally many points each."""
    known = [price for price in columns.price if price is not None]
    currencies = set(columns.currency) - {""}
    currency = currencies.pop() if len(currencies) == 1 else ""
    bounds = np.quantile(known, np.linspace(0, 1, len(SCALE) + 1)[1:-1]).tolist() if known else []
    return _by_steps(
        columns.price,
        sorted({_round(bound) for bound in bounds if bound > 0}),
        lambda value: _short_price(value, currency),
    )


def _by_steps(values: Sequence[float | None], bounds: Sequence[float], to_text: Callable[[float], str]) -> Colouring:
    steps = len(bounds) + 1
    unknown = steps
    label_indices = [
        unknown if value is None else int(np.searchsorted(bounds, value, side="right")) for value in values
    ]
    labels = [
        *([f"below {to_text(bounds[0])}"] if bounds else ["any"]),
        *(f"{to_text(low)} to {to_text(high)}" for low, high in itertools.pairwise(bounds)),
        *([f"{to_text(bounds[-1])} or more"] if bounds else []),
    ]
    colours = [SCALE[round(step * (len(SCALE) - 1) / max(steps - 1, 1))] for step in range(steps)]
    return Colouring(label_indices, [*labels, "unknown"], [*colours, UNKNOWN])


def _round(value: float) -> float:
    """Round to two significant digits."""
    return round(value, 1 - math.floor(math.log10(value)))


def _short_price(value: float, currency: str) -> str:
    return price_in_words(value, currency).removesuffix(".00")

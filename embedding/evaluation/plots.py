"""Plots of a training run and of an evaluation, as PNG."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Plot
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from embedding.card import Figure

_BLUE, _GREY = "#4c78a8", "#9aa0a6"


def curves(history: pd.DataFrame, columns: Mapping[str, str], title: str, best: int | None = None) -> bytes:
    """Plot columns of metrics.csv (name -> label) over epochs; `best` marks the epoch that was kept."""
    plot = Plot(figsize=(7, 4), layout="constrained", dpi=110)
    axes = plot.subplots()
    for name, label in columns.items():
        if name in history:
            axes.plot(history["epoch"], history[name], marker=".", label=label)
    if best is not None:
        axes.axvline(best, color=_GREY, linestyle=":", label="kept")
    axes.set_xlabel("epoch")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    return _png(plot)


def confusion(truth: Sequence[str], predicted: Sequence[str], names: Sequence[str]) -> bytes:
    """Plot a confusion matrix. Rows: the seller's category. Columns: the head's. Cells: percent of their row."""
    shares = confusion_matrix(truth, predicted, labels=names, normalize="true") * 100
    side = 0.5 * len(names) + 3
    plot = Plot(figsize=(side, side), layout="constrained", dpi=110)
    axes = plot.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("seller's category")
    for row, column in np.ndindex(shares.shape):
        if shares[row, column] >= 1:
            ink = "white" if shares[row, column] > 50 else "black"
            axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", color=ink, fontsize=8)
    return _png(plot)


def reliability(table: NDArray[np.float64], error: float) -> bytes:
    """Plot predicted probability against observed share, from `calibration.reliability`."""
    plot = Plot(figsize=(5, 5), layout="constrained", dpi=110)
    axes = plot.subplots()
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="perfect")
    axes.plot(table[:, 0], table[:, 1], marker="o", color=_BLUE, label=f"calibration error {error:.3f}")
    axes.set_xlabel("predicted probability of the same item")
    axes.set_ylabel("observed share")
    axes.legend()
    return _png(plot)


def bars(figures: Mapping[str, Mapping[str, Figure]], names: Mapping[str, str]) -> bytes:
    """Plot figures (name -> label) of several models side by side, with their intervals."""
    plot = Plot(figsize=(1.2 + 1.1 * len(names), 4.5), layout="constrained", dpi=110)
    axes = plot.subplots()
    width = 0.8 / len(figures)
    for number, (model, values) in enumerate(figures.items()):
        drawn = [(place, values[name]) for place, name in enumerate(names) if name in values]
        places = [place + (number - (len(figures) - 1) / 2) * width for place, _ in drawn]
        means = [figure.mean for _, figure in drawn]
        spread = [[figure.mean - figure.low for _, figure in drawn], [figure.high - figure.mean for _, figure in drawn]]
        axes.bar(places, means, width, yerr=spread, label=model, capsize=2)
    axes.set_xticks(range(len(names)), list(names.values()), rotation=20, ha="right")
    axes.set_ylim(0, 1)
    axes.grid(axis="y", alpha=0.3)
    axes.legend()
    return _png(plot)


def by_category(figures: Mapping[str, Mapping[str, Figure]], label: str) -> bytes:
    """Plot one figure per category, with intervals: model -> category -> figure."""
    categories = sorted({category for values in figures.values() for category in values})
    plot = Plot(figsize=(8, 1 + 0.28 * len(categories) * len(figures)), layout="constrained", dpi=110)
    axes = plot.subplots()
    height = 0.8 / len(figures)
    for number, (model, values) in enumerate(figures.items()):
        drawn = [(place, values[category]) for place, category in enumerate(categories) if category in values]
        places = [place + (number - (len(figures) - 1) / 2) * height for place, _ in drawn]
        spread = [[figure.mean - figure.low for _, figure in drawn], [figure.high - figure.mean for _, figure in drawn]]
        axes.barh(places, [figure.mean for _, figure in drawn], height, xerr=spread, label=model, capsize=2)
    axes.set_yticks(range(len(categories)), categories)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel(label)
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    return _png(plot)


def _png(plot: Plot) -> bytes:
    buffer = io.BytesIO()
    plot.savefig(buffer, format="png")
    return buffer.getvalue()

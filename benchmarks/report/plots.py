"""Plots of docs/benchmarks.md, as SVG: small, and identical for identical figures."""

from pathlib import Path

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks.report.results import Figure, Line, Plot

matplotlib.use("Agg")
# A fixed salt for the IDs, and text kept as text: the file changes only if a figure does.
matplotlib.rcParams.update({"svg.hashsalt": "marketlens", "svg.fonttype": "none", "font.size": 9})


def draw(plot: Plot, path: Path) -> None:
    """Draw lines if the x values are numbers, else bars."""
    named = any(isinstance(x, str) for line in plot.lines.values() for x, _ in line)
    bars = max(len(line) for line in plot.lines.values())
    figure, axes = pyplot.subplots(figsize=(7, 0.6 + 0.35 * bars) if named else (7, 3.6), layout="constrained")
    (_bars if named else _lines)(axes, plot)
    axes.set_title(plot.title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")
    pyplot.close(figure)


def _lines(axes: Axes, plot: Plot) -> None:
    for name, line in plot.lines.items():
        x = [float(position) for position, _ in line]
        axes.errorbar(x, _medians(line), yerr=_whiskers(line), label=name, marker="o", markersize=4, capsize=3)
    axes.set(xscale="log", yscale="log", xlabel=plot.x, ylabel=plot.y)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _bars(axes: Axes, plot: Plot) -> None:
    ((_, line),) = plot.lines.items()
    line = list(reversed(line))  # the first on top
    names = [str(name) for name, _ in line]
    axes.barh(names, _medians(line), xerr=_whiskers(line), color="#4878a8", capsize=3)
    axes.set(xlabel=plot.y)


def _medians(line: Line) -> list[float]:
    return [value.median for _, value in line]


def _whiskers(line: Line) -> list[list[float]]:
    def spread(value: Figure) -> tuple[float, float]:
        return value.median - min(value.values), max(value.values) - value.median

    return [list(side) for side in zip(*(spread(value) for _, value in line), strict=True)]

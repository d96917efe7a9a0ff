"""Results of a benchmark: figures of several runs, tables and plots; printed, and stored for docs/benchmarks.md."""

import json
import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

# Environment variable in which the runner passes the file to append tables to, one JSON object per line.
RESULTS = "MARKETLENS_BENCH_RESULTS"


@dataclass(frozen=True)
class Figure:
    """One quantity, measured in each of several runs."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The displayed value."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        """Format as `4.2 (3.9 to 4.8)`; a single run has no spread."""
        shown, lowest, highest = (_digits(value) for value in (self.median, min(self.values), max(self.values)))
        return f"{shown} ({lowest} to {highest})" if len(self.values) > 1 else shown


def figure(values: Iterable[float]) -> Figure:
    """Return the values of one quantity, in the order of the runs."""
    return Figure(tuple(float(value) for value in values))


def ratio(numerators: Figure, denominators: Figure) -> Figure:
    """Divide run by run, for figures measured side by side. Raises ValueError if the numbers of runs differ."""
    return figure(top / bottom for top, bottom in zip(numerators.values, denominators.values, strict=True))


Cell = str | Figure
Line = list[tuple[float | str, Figure]]


@dataclass(frozen=True)
class Plot:
    """Lines over numbers, on logarithmic axes, or bars beside names; whiskers from the lowest to the highest run."""

    title: str
    x: str
    y: str
    lines: dict[str, Line]


@dataclass(frozen=True)
class Table:
    """A table of the document; `note` explains its columns and names what was not measured."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    plots: Sequence[Plot] = ()


def publish(table: Table) -> None:
    """Print a table, and append it to the runner's file if there is one."""
    shown = RichTable(*table.columns, title=table.title, caption=table.note or None)
    for row in table.rows:
        shown.add_row(*map(str, row))
    Console(width=None if Console().is_terminal else 200).print(shown)
    if path := os.environ.get(RESULTS):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(table)) + "\n")


def read_tables(path: Path) -> list[Table]:
    """Read the tables that `publish` appended."""
    return [table_from(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def exponent(sizes: Sequence[float], taken: Sequence[Figure]) -> str:
    """Return `n^1.03 ± 0.02`: the least-squares slope through the logarithms of all runs, and its standard error.

    Empty for fewer than two sizes; without the error for two runs, which are too few to estimate it.
    """
    points = [(size, value) for size, measured in zip(sizes, taken, strict=True) for value in measured.values]
    if len(set(sizes)) < 2:
        return ""
    x, y = np.log(np.array(points)).T
    slope, intercept = np.polyfit(x, y, 1)
    if len(x) == 2:
        return f"n^{slope:.2f}"
    residuals = y - (slope * x + intercept)
    error = np.sqrt(residuals @ residuals / (len(x) - 2) / np.sum((x - x.mean()) ** 2))
    return f"n^{slope:.2f} ± {error:.2f}"


def _digits(value: float) -> str:
    """Format with three significant digits, without an exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(abs(value)))))}f}"


def table_from(data: dict[str, Any]) -> Table:
    """Build a table from its JSON object."""
    rows = [[_cell(cell) for cell in row] for row in data["rows"]]
    plots = []
    for plot in data["plots"]:
        lines = {name: [(x, figure(y["values"])) for x, y in line] for name, line in plot["lines"].items()}
        plots.append(Plot(plot["title"], plot["x"], plot["y"], lines))
    return Table(data["title"], data["columns"], rows, data["note"], plots)


def _cell(data: str | dict[str, list[float]]) -> Cell:
    return data if isinstance(data, str) else figure(data["values"])

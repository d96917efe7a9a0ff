"""What a benchmark found: figures of several runs, tables, plots. Printed, and kept as data for docs/benchmarks.md."""

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

# The runner names the file that tables are appended to, a JSON object a line.
RESULTS = "MARKETLENS_BENCH_RESULTS"


@dataclass(frozen=True)
class Figure:
    """One quantity, measured in each of several runs."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value that is shown."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        """`4.2 (3.9 to 4.8)`; a single run has no spread."""
        shown, lowest, highest = (_digits(value) for value in (self.median, min(self.values), max(self.values)))
        return f"{shown} ({lowest} to {highest})" if len(self.values) > 1 else shown


def figure(values: Iterable[float]) -> Figure:
    """The runs of one quantity, in the order in which they were made."""
    return Figure(tuple(float(value) for value in values))


def ratio(ones: Figure, others: Figure) -> Figure:
    """How many times the others each one is, run by run: both were measured side by side. Raises ValueError."""
    return figure(one / other for one, other in zip(ones.values, others.values, strict=True))


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
    """A table of the document; `note` says what its columns mean and what was not measured."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    plots: Sequence[Plot] = ()


def publish(table: Table) -> None:
    """Print a table, and keep it where the runner asked for it."""
    shown = RichTable(*table.columns, title=table.title, caption=table.note or None)
    for row in table.rows:
        shown.add_row(*map(str, row))
    Console(width=None if Console().is_terminal else 200).print(shown)
    if path := os.environ.get(RESULTS):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(table)) + "\n")


def read_tables(path: Path) -> list[Table]:
    """What `publish` kept."""
    return [table_from(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def exponent(sizes: Sequence[float], taken: Sequence[Figure]) -> str:
    """`n^1.03 ± 0.02`: the slope of least squares through logarithms of all runs, and its standard error.

    Empty where there are fewer than two sizes; without an error where two runs leave nothing to estimate it from.
    """
    points = [(size, value) for size, one in zip(sizes, taken, strict=True) for value in one.values]
    if len(set(sizes)) < 2:
        return ""
    x, y = np.log(np.array(points)).T
    slope, at_zero = np.polyfit(x, y, 1)
    if len(x) == 2:
        return f"n^{slope:.2f}"
    rest = y - (slope * x + at_zero)
    error = np.sqrt(rest @ rest / (len(x) - 2) / np.sum((x - x.mean()) ** 2))
    return f"n^{slope:.2f} ± {error:.2f}"


def _digits(value: float) -> str:
    """Three that count, no exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(abs(value)))))}f}"


def table_from(kept: dict[str, Any]) -> Table:
    """A table as JSON has it."""
    rows = [[_cell(cell) for cell in row] for row in kept["rows"]]
    plots = []
    for one in kept["plots"]:
        lines = {name: [(x, figure(y["values"])) for x, y in line] for name, line in one["lines"].items()}
        plots.append(Plot(one["title"], one["x"], one["y"], lines))
    return Table(kept["title"], kept["columns"], rows, kept["note"], plots)


def _cell(kept: str | dict[str, list[float]]) -> Cell:
    return kept if isinstance(kept, str) else figure(kept["values"])

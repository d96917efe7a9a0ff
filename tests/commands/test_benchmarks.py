"""The benchmarks' own arithmetic, and the generation of docs/benchmarks.md."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as runner
from benchmarks.report import document
from benchmarks.report.results import RESULTS, Plot, Table, exponent, figure, publish, ratio, read_tables
from benchmarks.workers.worker_process import WorkerProcess, rounds

FOLDER = Path(runner.__file__).parent


def table() -> Table:
    speed = figure([10.0, 12.0, 11.0])
    bars = Plot("Speeds", "", "photos/s", {"photos/s": [("plain", figure([5, 6])), ("ours", speed)]})
    grown = Plot("Growth", "photos", "s", {"ingest": [(1_000.0, figure([1, 2])), (10_000.0, figure([11, 19]))]})
    return Table(
        "Methods", ("method", "photos/s"), [["plain", "5.5"], ["ours | theirs", speed]], "By hand.", [bars, grown]
    )


def test_every_benchmark_is_run() -> None:
    """`make bench` runs every module whose docstring shows a usage; helper modules have none."""
    runnable = {
        file.stem
        for file in FOLDER.glob("*.py")
        if f"    .venv/bin/python -m benchmarks.{file.stem}" in file.read_text()
    }
    assert runnable == {benchmark.name for benchmark in runner.BENCHMARKS}


@pytest.mark.parametrize("benchmark", runner.BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_a_benchmark_knows_its_arguments(
    benchmark: runner.Benchmark, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The benchmark has every option that the runner passes, quick and full."""
    monkeypatch.setattr(sys, "argv", [benchmark.name, "--help"])
    with pytest.raises(SystemExit) as ended:
        import_module(f"benchmarks.{benchmark.name}").main()
    assert not ended.value.code
    help_ = capsys.readouterr().out
    options = {word for word in (benchmark.quick + " " + benchmark.full).split() if word.startswith("--")}
    assert [option for option in options if option not in help_] == []


def test_a_figure_has_median_and_spread() -> None:
    """A single run shows no spread, and small numbers keep three digits."""
    assert str(figure([3, 1, 2])) == "2.00 (1.00 to 3.00)"
    assert str(figure([0.01234])) == "0.0123"
    assert str(figure([12_345.6])) == "12,346"


def test_a_ratio_is_taken_within_each_round() -> None:
    """A machine that is twice as slow in one round does not change the ratio."""
    assert ratio(figure([10, 5, 20]), figure([5, 2.5, 10])).values == (2, 2, 2)
    with pytest.raises(ValueError, match="shorter"):
        ratio(figure([1, 2]), figure([1]))


def test_the_exponent_of_growth() -> None:
    """A square grows exactly as n^2; noise gives an error; a single size gives no exponent."""
    sizes = [1_000.0, 10_000.0, 100_000.0]
    assert exponent(sizes, [figure([size**2]) for size in sizes]) == "n^2.00 ± 0.00"
    random = np.random.default_rng(0)
    noisy = [figure(size * np.exp(0.2 * random.normal(size=5))) for size in sizes]
    slope, error = map(float, exponent(sizes, noisy)[2:].split(" ± "))
    assert abs(slope - 1) < 3 * error
    # By hand: 0.2 / sqrt(sum of squares of 5 times log(10) on either side).
    assert error == pytest.approx(0.2 / np.sqrt(10 * np.log(10) ** 2), rel=0.5)
    assert exponent([1_000.0], [figure([1, 2])]) == ""


def test_tables_are_printed_and_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Published tables are printed and stored as data, from which the document is generated."""
    publish(table())  # without the runner, for a terminal
    monkeypatch.setenv(RESULTS, str(tmp_path / "tables.jsonl"))
    publish(table())
    assert capsys.readouterr().out.count("11.0 (10.0 to 12.0)") == 2
    (stored,) = read_tables(tmp_path / "tables.jsonl")
    assert [list(row) for row in stored.rows] == [list(row) for row in table().rows]
    assert list(stored.plots[0].lines.values()) == list(map(list, table().plots[0].lines.values()))


def test_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document shows commands, figures with spread, plots and failures; a second run replaces the first.

    Load during a very short benchmark does not mark the machine as shared.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    document.keep(document.Section("search", "python -m benchmarks.search", "then", tables=[table()]))
    document.keep(document.Section("growth", "python -m benchmarks.growth", "then", problem="ended with 1"))
    document.keep(document.Section("scaling", "python -m benchmarks.scaling", "then", seconds=0.3, others=0.5))
    for others in (0.4, 0.0):
        document.keep(
            document.Section(
                "search", "python -m benchmarks.search", "then", seconds=60, others=others, tables=[table()]
            )
        )
        text = document.write(["search", "growth", "scaling", "never-run"]).read_text()
        assert ("The machine was shared" in text) == (others > 0)
    assert "11.0 (10.0 to 12.0)" in text
    assert "| ours / theirs |" in text
    assert "**ended with 1**" in text
    assert "never-run" not in text
    plots = [line.split("(")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert len(plots) == 2
    for plot in plots:
        assert "<svg" in (tmp_path / "docs" / plot).read_text()


def test_without_the_real_export(tmp_path: Path) -> None:
    """Benchmarks that need real photos are not run and say so; those with synthetic data are run."""
    by_name = {benchmark.name: benchmark for benchmark in runner.BENCHMARKS}
    section = runner.run(by_name["ingest"], quick=True, listings=tmp_path / "nowhere")
    assert "nowhere" in section.problem
    assert section.tables == []
    assert not by_name["growth"].needs_listings
    assert not by_name["peers"].needs_listings  # its vector stores do not need it


@pytest.mark.slow
def test_a_benchmark_runs(tmp_path: Path) -> None:
    """The benchmark of ingest, searches and insights runs with very few photos."""
    few = runner.Benchmark("growth", "--photos 40 --stores lite --rounds 1 --map 20", "")
    section = runner.run(few, quick=True, listings=tmp_path)
    assert section.problem == ""
    assert section.seconds > 0
    assert section.peak_mb > 100
    [table] = section.tables
    measured = [row[0] for row in table.rows]
    assert {"ingest, s", "search, p50 ms", "insights, s", "disk, MB"} <= set(measured)


def test_rounds_alternate() -> None:
    """Every second round is reversed, so that no name always comes first."""
    assert rounds(["a", "b", "c"], 2) == ["a", "b", "c", "c", "b", "a"]


def test_a_worker_that_ends_is_an_error() -> None:
    """A peer that crashes gives no figure."""
    worker = WorkerProcess(sys.executable, "json.tool", "no such file")
    with worker, pytest.raises(RuntimeError, match="exited with"):
        worker.ask({})

"""`marketlens evaluate`: compare models on listings that none of them was trained on."""

import json
from pathlib import Path

import pytest

from catalog.errors import ExportUnreadable, OutputFailed
from catalog.exports.export import open_export
from catalog.photo_files.hosts import make_reader
from catalog.progress import silent
from embedding.checkpoint import TRAINED_ON, listing_hash
from embedding.evaluation.evaluate import Evaluation, evaluate
from tests.support.commands import RunHere
from tests.support.data.exports import MakeExport
from tests.support.data.models import random_copy
from tests.support.paths import MODEL


def run(models: list[Path], export: Path, out: Path) -> Evaluation:
    return evaluate(models, open_export(export), out, read=make_reader(10_000_000, 20), progress=silent)


def test_trained_listings_are_left_out(random_model: Path, make_export: MakeExport, tmp_path: Path) -> None:
    """A listing that one of the models was trained on is left out for all of them."""
    export = make_export(listings=8)
    first, second = (random_copy(random_model, tmp_path / name) for name in ("first", "second"))
    (first / TRAINED_ON).write_text(f"{listing_hash('l0')}\n{listing_hash('l1')}\n")
    (second / TRAINED_ON).write_text(f"{listing_hash('l1')}\n{listing_hash('l2')}\n")
    result = run([first, second], export, tmp_path / "out")
    assert (result.listings, result.left_out, result.photos) == (5, 3, 10)
    assert [model.model for model in result.models] == ["first", "second"]
    assert result.models[0].figures == result.models[1].figures  # the same weights
    assert result.models[0].figures["recall_at_1"].queries == 10


def test_folders_of_one_name(make_export: MakeExport, tmp_path: Path) -> None:
    """Models whose folders have the same name are named by their paths, in the table and in the plots."""
    models = [random_copy(MODEL, tmp_path / place / "m") for place in ("old", "new")]
    result = run(models, make_export(listings=4), tmp_path / "out")
    assert [model.model for model in result.models] == [str(folder) for folder in models]
    assert sorted(path.name[-9:] for path in (tmp_path / "out").glob("confusion-*")) == ["new-m.png", "old-m.png"]


def test_nothing_left(random_model: Path, make_export: MakeExport, tmp_path: Path) -> None:
    """An export of training listings only is refused."""
    export = make_export(listings=4)
    model = random_copy(random_model, tmp_path / "m")
    (model / TRAINED_ON).write_text("\n".join(listing_hash(f"l{number}") for number in range(4)))
    with pytest.raises(ExportUnreadable, match="4 listings were left out"):
        run([model], export, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_output(random_model: Path, make_export: MakeExport, tmp_path: Path, run_here: RunHere) -> None:
    """Table, JSON and plots are written; the leaky figure, which counts the own listing, is never smaller."""
    export = make_export(listings=10)
    (export / "images" / "l3-0.jpg").write_bytes(b"no photo")
    done = run_here("evaluate", random_model, export, "--out", "result", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for words in ("recall@1", "category mAP@R", "By category", "Garden", "1 rows rejected", " to "):
        assert words in done.stdout, words
    result = json.loads((tmp_path / "result" / "evaluation.json").read_text())
    figures = result["models"][0]["figures"]
    assert figures["leaky_category_p_at_1"]["mean"] >= figures["category_p_at_1"]["mean"]
    assert figures["recall_at_1"]["low"] <= figures["recall_at_1"]["mean"] <= figures["recall_at_1"]["high"]
    assert set(result["models"][0]["by_category"]) == {"Home", "Garden"}
    names = {path.name for path in (tmp_path / "result").iterdir()}
    assert names == {"evaluation.json", "figures.png", "recall_at_1.png", "category_p_at_1.png"}


def test_never_overwritten(random_model: Path, make_export: MakeExport, tmp_path: Path) -> None:
    """An existing folder is never overwritten."""
    with pytest.raises(OutputFailed, match="exists already"):
        run([random_model], make_export(), tmp_path)


def test_wrong_arguments(tmp_path: Path, run_here: RunHere) -> None:
    """Without a model and an export, the command says what it needs."""
    done = run_here("evaluate", "somewhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "marketlens evaluate MODEL EXPORT" in done.stderr

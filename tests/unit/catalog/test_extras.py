"""Optional dependencies: the error for a missing package names the command that installs it."""

import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from catalog.errors import InvalidSetting
from catalog.extras import Extra, install_command, needs
from tests.support.commands import RunHere, assert_failed
from tests.support.data.exports import MakeExport
from tests.support.paths import ROOT

# Modules that import the packages of an extra. They must be imported again to notice that one is missing.
IMPORTERS = ("embedding", "insights", "ingest.ray", "catalog.store.bulk_import", "marketlens.demo")


def test_every_extra_exists() -> None:
    """Every extra that an error names exists in pyproject.toml."""
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(get_args(Extra)) <= offered.keys()


def test_a_missing_package() -> None:
    """The error names the package, its extra and this interpreter; an installed package is imported silently."""
    with needs("train"):
        import json  # noqa: F401
    with (
        pytest.raises(InvalidSetting, match="nowhere is not installed: it comes with the extra train") as error,
        needs("train"),
    ):
        import nowhere.deep  # noqa: F401
    assert error.value.hint == f"Install it: {install_command('train')}"
    assert install_command("train") == f'{sys.executable} -m pip install "marketlens[train]"'


@pytest.mark.parametrize(
    ("package", "extra", "command"),
    [
        ("imagehash", "train", ["prepare", "export", "--out", "set"]),
        ("torch", "train", ["train", "set", "--out", "model"]),
        ("torch", "train", ["model", "import", "--out", "model"]),
        ("matplotlib", "train", ["evaluate", "model", "export"]),
        ("openTSNE", "insights", ["insights"]),
        ("openTSNE", "insights", ["demo", "--once"]),
        ("streamlit", "dashboard", ["dashboard"]),
        ("streamlit", "dashboard", ["demo"]),
        ("streamlit", "dashboard", ["up"]),
        ("ray", "ray", ["ingest", "export", "--engine", "ray"]),
        ("pymilvus.bulk_writer", "bulk", ["ingest", "export", "--bulk"]),
    ],
)
def test_commands(
    package: str,
    extra: Extra,
    command: list[str],
    run_here: RunHere,
    make_export: MakeExport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A command whose extra is missing exits with 2 and names the install command, before it writes anything."""
    make_export(listings=2)
    for name in [name for name in sys.modules if name.startswith((*IMPORTERS, f"{package}."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert_failed(run_here(*command, cwd=tmp_path), 2, f"comes with the extra {extra}", install_command(extra))
    assert sorted(path.name for path in tmp_path.iterdir()) == before

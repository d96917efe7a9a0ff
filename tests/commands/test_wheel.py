"""The wheel, installed into an empty environment: it contains its model, and runs in any folder."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import assert_failed, marketlens
from tests.support.data.exports import write_export
from tests.support.paths import MODEL, ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of an environment that holds the wheel and its dependencies, without extras."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("marketlens-*.whl")
    run(sys.executable, "-m", "venv", folder / "venv")
    run(folder / "venv" / "bin" / "python", "-m", "pip", "install", "--constraint", ROOT / "requirements.lock", wheel)
    return folder / "venv" / "bin" / "marketlens"


def run(*command: object) -> None:
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    """In an empty folder it ingests and searches with the model from the wheel; data is stored in that folder."""
    write_export(tmp_path / "export", 6)
    assert marketlens("ingest", "export", cwd=tmp_path, command=[installed]).returncode == 0
    result = marketlens("search", "export/images/l2-0.jpg", "--limit", 1, cwd=tmp_path, command=[installed])
    assert "Thing 2" in result.stdout, result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "export"]
    assert not list(installed.parents[1].glob("lib/python*/site-packages/torch"))


def test_every_command_says_what_is_missing(installed: Path, tmp_path: Path) -> None:
    """A command without its extra prints the command that adds it to this environment, and leaves nothing behind."""
    python = installed.with_name("python")
    for extra, words in {
        "insights": ["insights"],
        "dashboard": ["dashboard"],
        "train": ["train", "prepared", "--out", "model"],
    }.items():
        result = marketlens(*words, cwd=tmp_path, command=[installed])
        assert_failed(
            result, 2, f"comes with the extra {extra}", f'-m pip install "marketlens[{extra}]"', str(python.parent)
        )
    assert list(tmp_path.iterdir()) == []


def test_a_checkout_beside_it(installed: Path, tmp_path: Path) -> None:
    """In a checkout, the installed command uses its own code and model; a setting can name another model."""
    checkout = tmp_path / "checkout"
    for folder in ("catalog", "embedding", "marketlens"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "catalog" / "settings.py").write_text("raise SystemExit('this is the checkout')")
    (checkout / "models" / "marketlens-resnet50").mkdir(parents=True)
    result = marketlens("doctor", cwd=checkout, command=[installed])
    assert str(installed.parents[1]) in result.stdout.replace("\n", ""), result.stdout + result.stderr
    mine = Path(shutil.copytree(MODEL, checkout / "models" / "mine"))
    result = marketlens("doctor", cwd=checkout, command=[installed], MARKETLENS_MODEL__PATH="models/mine")
    assert f"{mine.relative_to(checkout)}: " in result.stdout

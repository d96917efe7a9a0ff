"""The house is as drawn: who imports whom."""

import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT


def test_the_arrows_hold() -> None:
    """import-linter's contracts in pyproject.toml are kept, pymilvus in one module among them."""
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


def test_nothing_is_pickled() -> None:
    """Neither read nor written, anywhere in the product."""
    folders = ("catalog", "embedding", "ingest", "insights", "search_api", "dashboard", "marketlens")
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        source = path.read_text()
        for word in ("import pickle", "torch.load(", "torch.save(", "allow_pickle=True", "joblib"):
            assert word not in source, f"{path}: {word}"


def test_help_is_quick_because_rooms_are_lazy() -> None:
    """`marketlens --help` loads neither torch nor Milvus."""
    code = (
        "import sys; from marketlens import cli\n"
        "heavy = {'torch', 'pymilvus', 'streamlit', 'fastapi'} & set(sys.modules)\n"
        "sys.exit(f'loads {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

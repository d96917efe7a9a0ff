"""The files of the wheel, as its builder lists them: everything that the packages need beside their code."""

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.support.paths import MODEL, ROOT


@pytest.fixture(scope="module")
def files() -> set[str]:
    """Paths in the wheel."""
    builder = WheelBuilder(str(ROOT))
    return {file.distribution_path for file in builder.recurse_included_files()} | {
        f"{target}/{path.relative_to(ROOT / source).as_posix()}"
        for source, target in builder.config.force_include.items()
        for path in (ROOT / source).rglob("*")
        if path.is_file()
    }


def test_the_migrations_are_installed(files: set[str]) -> None:
    """The migrations of the verdict database are included, so that an installed service can create its tables."""
    migrations = {path.relative_to(ROOT).as_posix() for path in (ROOT / "catalog" / "verdicts").rglob("*.py")}
    assert any("versions" in path for path in migrations)
    assert migrations <= files


def test_the_model_is_installed(files: set[str]) -> None:
    """The complete folder of the shipped model is included, with its licence and one copy of its weights."""
    expected = {path.relative_to(MODEL).as_posix() for path in MODEL.rglob("*") if path.is_file()}
    assert {f"catalog/models/marketlens-resnet50/{name}" for name in expected} <= files
    assert sum(name.endswith(".safetensors") for name in files) == 1


def test_pages_and_types_are_installed(files: set[str]) -> None:
    """The dashboard's scripts and styles and every package's py.typed are included; tests and caches are not."""
    assert {"dashboard/assets/map.js", "dashboard/assets/crop.css"} <= files
    packages = ("catalog", "dashboard", "embedding", "index_builds", "ingest", "insights", "marketlens", "search_api")
    assert {f"{package}/py.typed" for package in packages} <= files
    assert not [name for name in files if name.startswith(("tests", "benchmarks")) or "__pycache__" in name]

"""A rule for the source code that no linter checks."""

from tests.support.paths import ROOT


def test_nothing_is_pickled() -> None:
    """No package reads or writes pickles."""
    folders = ("catalog", "embedding", "index_builds", "ingest", "insights", "search_api", "dashboard", "marketlens")
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        source = path.read_text()
        for word in ("import pickle", "torch.load(", "torch.save(", "allow_pickle=True", "joblib"):
            assert word not in source, f"{path}: {word}"

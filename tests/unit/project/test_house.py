"""The house is as drawn: who imports whom."""

from tests.support.paths import ROOT


def test_nothing_is_pickled() -> None:
    """Neither read nor written, anywhere in the product."""
    folders = ("catalog", "embedding", "index_builds", "ingest", "insights", "search_api", "dashboard", "marketlens")
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        source = path.read_text()
        for word in ("import pickle", "torch.load(", "torch.save(", "allow_pickle=True", "joblib"):
            assert word not in source, f"{path}: {word}"

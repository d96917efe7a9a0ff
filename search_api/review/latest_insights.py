"""The latest results of `marketlens insights` for a collection, cached."""

import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cachetools import LRUCache

from catalog.verdicts import WrongCategory
from insights.result_files import Insights


@dataclass(frozen=True)
class InsightTables:
    """Insights, with the columns used to select rows. `categories`, `suggested` and `keys` belong to suggestions."""

    insights: Insights

    @cached_property
    def categories(self) -> list[str]:
        """The seller's category of each suggestion."""
        return list(self.insights.suggestions["category"].to_pylist())

    @cached_property
    def suggested(self) -> list[str]:
        """The suggested category of each suggestion."""
        return list(self.insights.suggestions["suggested_category"].to_pylist())

    @cached_property
    def keys(self) -> list[str]:
        """The key of each suggestion's question."""
        listings = self.insights.suggestions["listing_id"].to_pylist()
        rows = zip(listings, self.categories, self.suggested, strict=True)
        return [WrongCategory(*row).key for row in rows]

    @cached_property
    def kinds(self) -> list[str]:
        """The kind of each group of duplicates."""
        return list(self.insights.duplicates["kind"].to_pylist())

    @cached_property
    def groups(self) -> list[list[str]]:
        """The listing ids of each group of duplicates."""
        return list(self.insights.duplicates["listing_ids"].to_pylist())


class LatestInsights:
    """Reads insights, and reloads them after another run. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        # Two entries: the live build, and the previous one while its last requests finish.
        self._cache: LRUCache[str, InsightTables] = LRUCache(2)

    def of(self, collection: str) -> InsightTables:
        """Return the insights of this collection. Raises InsightsMissing."""
        with self._lock:
            tables = self._cache.get(collection)
            if tables is None or not tables.insights.is_current():
                tables = self._cache[collection] = InsightTables(Insights.open(self._folder, collection))
            return tables

"""What the last `marketlens insights` found in the collection that answers, read once."""

import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cachetools import LRUCache

from catalog.verdicts import WrongCategory
from insights.store import Insights


@dataclass(frozen=True)
class InsightTables:
    """Insights, and what lists of them are walked by. Rows of `categories`, `suggested`, `keys` are suggestions'."""

    insights: Insights

    @cached_property
    def categories(self) -> list[str]:
        """The seller's categories."""
        return list(self.insights.suggestions["category"].to_pylist())

    @cached_property
    def suggested(self) -> list[str]:
        """The suggested categories."""
        return list(self.insights.suggestions["suggested_category"].to_pylist())

    @cached_property
    def keys(self) -> list[str]:
        """The questions' keys."""
        listings = self.insights.suggestions["listing_id"].to_pylist()
        rows = zip(listings, self.categories, self.suggested, strict=True)
        return [WrongCategory(*row).key for row in rows]

    @cached_property
    def kinds(self) -> list[str]:
        """Kinds of the groups of duplicates."""
        return list(self.insights.duplicates["kind"].to_pylist())

    @cached_property
    def groups(self) -> list[list[str]]:
        """Listing ids of the groups of duplicates."""
        return list(self.insights.duplicates["listing_ids"].to_pylist())


class LatestInsights:
    """Hands them out, and reads them again when another run has ended. Safe for threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reading = threading.Lock()
        # Of the build that answers, and of the one before, while its last requests end.
        self._found: LRUCache[str, InsightTables] = LRUCache(2)

    def of(self, collection: str) -> InsightTables:
        """What was found in this collection. Raises InsightsMissing."""
        with self._reading:
            found = self._found.get(collection)
            if found is None or not found.insights.is_current():
                found = self._found[collection] = InsightTables(Insights.open(self._folder, collection))
            return found

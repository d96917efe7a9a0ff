"""Compare a build with the collection that it is to replace."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from catalog.store.builds import CollectionInfo
from catalog.store.collection import PhotoCollection
from index_builds import golden_queries
from index_builds.difference import Difference, compare
from index_builds.golden_queries import Answer
from index_builds.index_recall import index_recall

RECALL_QUERIES = 300
# With 200 queries, chance alone moves the share by about 0.03.
_MAX_LOSS = 0.05
_SEED = 1


@dataclass(frozen=True, slots=True)
class CollectionFigures:
    """Figures of one collection: size, index recall, and how often a photo finds its listing's other photo."""

    info: CollectionInfo
    photos: int
    index_recall: float
    finds_own: float | None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of the comparison. `overlap` is the share of the saved answers that the build gives too, 0 to 1."""

    before: CollectionFigures
    build: CollectionFigures
    difference: Difference
    overlap: float
    queries: int
    min_recall: float

    @property
    def failures(self) -> list[str]:
        """Reasons not to promote the build; empty if it passed all checks."""
        failures = []
        if self.difference.total:
            failures.append(f"photos differ: {self.difference}")
        if self.build.index_recall < self.min_recall:
            failures.append(
                f"the index finds {self.build.index_recall:.3f} of the true neighbours, not {self.min_recall}"
            )
        old, new = self.before.finds_own, self.build.finds_own
        if old is not None and new is not None and new < old - _MAX_LOSS:
            failures.append(f"the other photo of a listing is found for {new:.3f} of the queries, {old:.3f} before")
        return failures

    def render(self) -> Table:
        """Return a table with a column for each side."""
        sides = (self.before, self.build)
        table = Table(title="index check", caption=f"golden queries: {self.queries:,}")
        table.add_column("")
        for title, side in zip(("before", "build"), sides, strict=True):
            table.add_column(f"{title}\n{side.info.name}", justify="right", overflow="fold")
        table.add_row("model", *(side.info.fingerprint[:12] for side in sides))
        table.add_row("index", *(side.info.index.type for side in sides))
        table.add_row("photos", *(f"{side.photos:,}" for side in sides))
        table.add_row("photos that differ", "", str(self.difference))
        table.add_row("index recall@10 against exact search", *(f"{side.index_recall:.3f}" for side in sides))
        table.add_row("finds the other photo of the listing in 10", *(_share_text(side.finds_own) for side in sides))
        table.add_row("golden answers kept", "", _share_text(self.overlap))
        return table


def check(
    before: PhotoCollection, build: PhotoCollection, folder: Path, *, min_recall: float, queries: int = RECALL_QUERIES
) -> CheckResult:
    """Compare a build with the collection before it, by `queries` photos and by the golden queries in the folder.

    Raises InvalidSetting if no golden queries were saved.
    """
    saved = {answer.photo_id: answer for answer in golden_queries.read_answers(folder, before.info().name)}
    new = golden_queries.run_queries(build, list(saved))
    old = [saved[answer.photo_id] for answer in new]
    return CheckResult(
        before=_measure(before, old, queries),
        build=_measure(build, new, queries),
        difference=compare(before, build),
        overlap=_overlap(old, new),
        queries=len(new),
        min_recall=min_recall,
    )


def _measure(photos: PhotoCollection, answers: list[Answer], queries: int) -> CollectionFigures:
    ids = sorted(photo_id for photo_id, _ in photos.reader.ids())
    np.random.default_rng(_SEED).shuffle(ids)
    known = [answer.finds_own for answer in answers if answer.finds_own is not None]
    return CollectionFigures(
        photos.info(),
        photos.reader.count(),
        index_recall(photos, ids[:queries]),
        float(np.mean(known)) if known else None,
    )


def _overlap(old: list[Answer], new: list[Answer]) -> float:
    """Return the share of the listings found before that are still found."""
    shares = [
        len(set(before.listings) & set(after.listings)) / len(before.listings)
        for before, after in zip(old, new, strict=True)
        if before.listings
    ]
    return float(np.mean(shares)) if shares else 1.0


def _share_text(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"

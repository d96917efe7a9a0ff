"""Compare a build with the collection that it is to take the place of."""

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
class Side:
    """One of the two: its size, the recall of its index, and how often it finds a listing by its other photo."""

    info: CollectionInfo
    photos: int
    index_recall: float
    finds_own: float | None


@dataclass(frozen=True, slots=True)
class Check:
    """What the comparison found. `overlap` is the part of the kept answers that the build gives as well, 0 to 1."""

    before: Side
    build: Side
    difference: Difference
    overlap: float
    queries: int
    min_recall: float

    @property
    def failures(self) -> list[str]:
        """What speaks against promoting the build; empty when nothing does."""
        found = []
        if self.difference.total:
            found.append(f"photos differ: {self.difference}")
        if self.build.index_recall < self.min_recall:
            found.append(f"the index finds {self.build.index_recall:.3f} of the true neighbours, not {self.min_recall}")
        old, new = self.before.finds_own, self.build.finds_own
        if old is not None and new is not None and new < old - _MAX_LOSS:
            found.append(f"the other photo of a listing is found for {new:.3f} of the queries, {old:.3f} before")
        return found

    def render(self) -> Table:
        """A column for each side."""
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
        table.add_row("finds the other photo of the listing in 10", *(_share(side.finds_own) for side in sides))
        table.add_row("golden answers kept", "", _share(self.overlap))
        return table


def check(
    before: PhotoCollection, build: PhotoCollection, folder: Path, *, min_recall: float, queries: int = RECALL_QUERIES
) -> Check:
    """Compare a build with the collection before it, by `queries` photos and by the golden queries in the folder.

    Raises InvalidSetting when none were kept.
    """
    kept = {answer.photo_id: answer for answer in golden_queries.read(folder, before.info().name)}
    new = golden_queries.ask(build, list(kept))
    old = [kept[answer.photo_id] for answer in new]
    return Check(
        before=_side(before, old, queries),
        build=_side(build, new, queries),
        difference=compare(before, build),
        overlap=_overlap(old, new),
        queries=len(new),
        min_recall=min_recall,
    )


def _side(photos: PhotoCollection, answers: list[Answer], queries: int) -> Side:
    ids = sorted(photo_id for photo_id, _ in photos.reader.ids())
    np.random.default_rng(_SEED).shuffle(ids)
    known = [answer.finds_own for answer in answers if answer.finds_own is not None]
    return Side(
        photos.info(),
        photos.reader.count(),
        index_recall(photos, ids[:queries]),
        float(np.mean(known)) if known else None,
    )


def _overlap(old: list[Answer], new: list[Answer]) -> float:
    """Part of the listings that were found before, and still are."""
    shares = [
        len(set(one.listings) & set(two.listings)) / len(one.listings)
        for one, two in zip(old, new, strict=True)
        if one.listings
    ]
    return float(np.mean(shares)) if shares else 1.0


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"

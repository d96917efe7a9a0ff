"""Batches: rows that are written together, and their lines in the ledger once Milvus has confirmed them."""

from dataclasses import dataclass, field, replace

import numpy as np

from catalog.listing import Embeddings, Rejected
from catalog.runs.ledger import Line, RowOutcome
from catalog.runs.report import Report
from ingest.stages.lazy_model import Model
from ingest.stages.photo_reader import ReadPhoto, pixels_of


@dataclass
class Batch:
    """Rows by state: `waiting` for an embedding, `new` with `embeddings`, or with `same_bytes` as the stored photo."""

    waiting: list[ReadPhoto] = field(default_factory=list)
    new: list[ReadPhoto] = field(default_factory=list)
    embeddings: list[Embeddings] = field(default_factory=list)
    same_bytes: list[ReadPhoto] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.waiting) + len(self.new) + len(self.same_bytes) + len(self.rejected)

    def add(self, result: ReadPhoto | Rejected) -> None:
        """Add the result of reading a row."""
        if isinstance(result, Rejected):
            self.rejected.append(result)
        elif result.pixels is None:
            self.same_bytes.append(result)
        else:
            self.waiting.append(result)

    def embed(self, model: Model | None) -> int:
        """Embed the waiting rows with their titles, free their pixels, return how many. A dry run has no `model`."""
        count = len(self.waiting)
        if count and model:
            photos = model.embedder.embed_pixels(pixels_of(self.waiting))
            titles = [row.photo.listing.title for row in self.waiting]
            self.embeddings.append(model.embedder.add_titles(photos, titles))
        self.new.extend(replace(row, pixels=None) for row in self.waiting)
        self.waiting = []
        return count

    def vectors(self) -> Embeddings:
        """Embeddings of `new`: (n, dim), n > 0."""
        return np.concatenate(self.embeddings)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Rows that Milvus has confirmed or that were rejected: their ledger lines, warnings and counts for the report."""

    lines: list[Line]
    rejected: list[Rejected]
    warnings: list[str]
    embedded: int
    updated: int
    unchanged: int

    def count_in(self, report: Report) -> None:
        """Add these rows to the report."""
        report.add(embedded=self.embedded, updated=self.updated, unchanged=self.unchanged)
        report.add_rejected(self.rejected)
        report.add_warnings(self.warnings)


def confirm(batch: Batch) -> Confirmed:
    """Make the ledger lines and counts of a batch that Milvus has confirmed."""
    outcomes: dict[RowOutcome, list[ReadPhoto]] = {
        "written": batch.new,
        "updated": updated_rows(batch),
        "unchanged": unchanged_rows(batch),
    }
    lines = [
        Line(row.photo.row, row.photo.photo_id, row.photo.listing.listing_id, outcome, row.sha256)
        for outcome, rows in outcomes.items()
        for row in rows
    ]
    return Confirmed(
        lines=[*lines, *map(Line.of_rejected, batch.rejected)],
        rejected=batch.rejected,
        warnings=[text for row in (*batch.new, *batch.same_bytes) for text in row.photo.warnings],
        embedded=len(batch.new),
        updated=len(outcomes["updated"]),
        unchanged=len(outcomes["unchanged"]),
    )


def updated_rows(batch: Batch) -> list[ReadPhoto]:
    """Rows whose bytes are stored, but with other metadata."""
    return [row for row in batch.same_bytes if row.known and row.known.photo != row.photo]


def unchanged_rows(batch: Batch) -> list[ReadPhoto]:
    """Rows whose bytes are stored with the same metadata."""
    return [row for row in batch.same_bytes if row.known and row.known.photo == row.photo]

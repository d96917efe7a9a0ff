"""What a run did. The numbers add up: read = written + unchanged + rejected."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, Field, PrivateAttr
from rich.console import Group
from rich.table import Table
from rich.text import Text

from catalog.errors import OutputFailed
from catalog.filters import make_quotable
from catalog.listing import Photo, Rejected

SHOWN_REJECTED = 20
SHOWN_WARNINGS = 10


class Report(BaseModel):
    """Counts of rows. Of those written, `embedded` are new or have new bytes; `updated` kept their embedding."""

    export: str
    collection: str = ""
    model_fingerprint: str = ""
    started_at: str = Field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    seconds: float = 0.0
    finished: bool = False
    read: int = 0
    written: int = 0
    embedded: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    rejected_rows: list[Rejected] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    _warned: set[str] = PrivateAttr(default_factory=set)

    def add(self, *, embedded: int = 0, updated: int = 0, unchanged: int = 0) -> None:
        """Count rows once the store has confirmed them."""
        self.embedded += embedded
        self.updated += updated
        self.unchanged += unchanged
        self.written += embedded + updated
        self.read += embedded + updated + unchanged

    def add_rejected(self, rows: Sequence[Rejected]) -> None:
        """Count rows that could not be used, and keep them."""
        self.read += len(rows)
        self.rejected += len(rows)
        self.rejected_rows.extend(rows)

    def add_warnings(self, photos: Iterable[Photo]) -> None:
        """Keep what was odd about these rows, each text once: photos of one listing share theirs."""
        for text in (text for photo in photos for text in photo.warnings):
            if text not in self._warned:
                self._warned.add(text)
                self.warnings.append(text)

    @property
    def photos_per_second(self) -> float:
        """Rows read per second of the run."""
        return self.read / self.seconds if self.seconds else 0.0

    @property
    def rejected_share(self) -> float:
        """Part of the rows that was rejected, 0 to 1."""
        return self.rejected / self.read if self.read else 0.0

    def save(self, path: Path) -> None:
        """Write as JSON. Raises OutputFailed."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise OutputFailed(f"The report {path} could not be written: {error}") from error

    def render(self) -> Group:
        """Tables for the terminal."""
        counts = Table(title=f"Ingest of {self.export}" + ("" if self.finished else " (not finished)"))
        for heading in ("read", "written", "updated", "unchanged", "rejected", "photos/s", "seconds"):
            counts.add_column(heading, justify="right")
        counts.add_row(
            *(f"{n:,}" for n in (self.read, self.written, self.updated, self.unchanged, self.rejected)),
            f"{self.photos_per_second:.1f}",
            f"{self.seconds:.1f}",
        )
        counts.caption = "read = written + unchanged + rejected; updated: of those written, with the embedding kept"
        parts: list[Table | Text] = [counts]
        if self.rejected_rows:
            parts.append(self._rejected_table())
        if self.warnings:
            more = len(self.warnings) - SHOWN_WARNINGS
            lines = [*self.warnings[:SHOWN_WARNINGS], *([f"… and {more:,} more, see the report"] if more > 0 else [])]
            parts.append(Text("Warnings (the rows were used):\n  " + "\n  ".join(lines)))
        return Group(*parts)

    def _rejected_table(self) -> Table:
        table = Table(title="Rejected rows")
        for heading in ("row", "photo", "reason", "detail"):
            table.add_column(heading, overflow="fold")
        for row in self.rejected_rows[:SHOWN_REJECTED]:
            # What stands in an export is neither markup nor a command to the terminal.
            table.add_row(*(Text(make_quotable(text)) for text in (row.row, row.photo_id, row.reason, row.detail)))
        if len(self.rejected_rows) > SHOWN_REJECTED:
            table.caption = f"the first {SHOWN_REJECTED} of {len(self.rejected_rows):,}; all of them are in the report"
        return table

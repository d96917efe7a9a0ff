"""Report of a build. The numbers add up: read = copied + embedded + rejected."""

from dataclasses import dataclass, field

from rich.console import Group
from rich.table import Table

from catalog.listing import Rejected
from ingest.report_tables import rejected_table


@dataclass
class BuildReport:
    """Counts of photos, correct whenever the build stops. `copied` photos were written with an existing embedding."""

    collection: str
    copied: int = 0
    embedded: int = 0
    removed: int = 0
    rejected: dict[str, Rejected] = field(default_factory=dict)
    seconds: float = 0.0
    finished: bool = False

    @property
    def read(self) -> int:
        """Number of photos of the live collection that were processed."""
        return self.copied + self.embedded + len(self.rejected)

    def render(self) -> Group:
        """Return tables for the terminal."""
        counts = Table(title=f"Build {self.collection}" + ("" if self.finished else " (not finished)"))
        for heading in ("read", "copied", "embedded", "rejected", "removed", "photos/s", "seconds"):
            counts.add_column(heading, justify="right")
        numbers = (self.read, self.copied, self.embedded, len(self.rejected), self.removed)
        speed = self.read / self.seconds if self.seconds else 0.0
        counts.add_row(*(f"{n:,}" for n in numbers), f"{speed:.1f}", f"{self.seconds:.1f}")
        counts.caption = "read = copied + embedded + rejected; copied: with an existing embedding"
        if not self.rejected:
            return Group(counts)
        columns = {"photo": "photo_id", "listing": "listing_id", "reason": "reason", "detail": "detail"}
        rows = list(self.rejected.values())
        return Group(counts, rejected_table("Photos that can no longer be used", columns, rows, len(rows)))

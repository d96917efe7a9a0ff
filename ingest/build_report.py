"""What a build brought over. The numbers add up: read = copied + embedded + rejected."""

from dataclasses import dataclass, field

from rich.console import Group
from rich.table import Table
from rich.text import Text

from catalog.filters import make_quotable
from catalog.listing import Rejected

SHOWN_REJECTED = 20


@dataclass
class BuildReport:
    """Counts of photos, true whenever it stops. `copied` ones kept an embedding that was there."""

    collection: str
    copied: int = 0
    embedded: int = 0
    removed: int = 0
    rejected: dict[str, Rejected] = field(default_factory=dict)
    seconds: float = 0.0
    finished: bool = False

    @property
    def read(self) -> int:
        """Photos of the live collection that were taken up."""
        return self.copied + self.embedded + len(self.rejected)

    def render(self) -> Group:
        """Tables for the terminal."""
        counts = Table(title=f"Build {self.collection}" + ("" if self.finished else " (not finished)"))
        for heading in ("read", "copied", "embedded", "rejected", "removed", "photos/s", "seconds"):
            counts.add_column(heading, justify="right")
        numbers = (self.read, self.copied, self.embedded, len(self.rejected), self.removed)
        speed = self.read / self.seconds if self.seconds else 0.0
        counts.add_row(*(f"{n:,}" for n in numbers), f"{speed:.1f}", f"{self.seconds:.1f}")
        counts.caption = "read = copied + embedded + rejected; copied: with the embedding that was there"
        return Group(counts, self._rejected_table()) if self.rejected else Group(counts)

    def _rejected_table(self) -> Table:
        table = Table(title="Photos that can no longer be used")
        for heading in ("photo", "listing", "reason", "detail"):
            table.add_column(heading, overflow="fold")
        for row in list(self.rejected.values())[:SHOWN_REJECTED]:
            table.add_row(*(Text(make_quotable(t)) for t in (row.photo_id, row.listing_id, row.reason, row.detail)))
        if len(self.rejected) > SHOWN_REJECTED:
            table.caption = f"the first {SHOWN_REJECTED} of {len(self.rejected):,}"
        return table

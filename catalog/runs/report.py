"""The report of an ingest run. The counts add up: read = written + unchanged + rejected."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, PrivateAttr, computed_field

from catalog.atomic_files import replace_file
from catalog.errors import OutputFailed
from catalog.listing import Rejected

MAX_DETAILS = 1_000
"""How many rejected rows, and how many warnings, a report lists."""

State = Literal["running", "finished", "stopped", "failed", "killed"]


class Report(BaseModel):
    """Counts of rows. Of those written, `embedded` are new or have new bytes; `updated` kept their embedding.

    `removed` counts photos that no row names any more. `photos` is the size of the collection at the end of the run.
    `stage_seconds` are sums over all threads. `rejected_rows` and `warnings` list the first thousand of each; the
    ledger has every row.
    """

    run_id: str = ""
    export: str
    export_tag: str = ""
    arguments: dict[str, Any] = Field(default_factory=dict)
    collection: str = ""
    model_fingerprint: str = ""
    host: str = ""
    process: int = 0
    state: State = "running"
    started_at: str = Field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    seconds: float = 0.0
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    read: int = 0
    written: int = 0
    embedded: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    removed: int = 0
    photos: int | None = None
    sync_refused: str = ""
    idle_warning: str = ""
    rejected_rows: list[Rejected] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    _warned: set[str] = PrivateAttr(default_factory=set)

    def add(self, *, embedded: int = 0, updated: int = 0, unchanged: int = 0, removed: int = 0) -> None:
        """Count rows that the store has confirmed."""
        self.embedded += embedded
        self.updated += updated
        self.unchanged += unchanged
        self.removed += removed
        self.written += embedded + updated
        self.read += embedded + updated + unchanged

    def add_rejected(self, rows: Sequence[Rejected]) -> None:
        """Count rejected rows, and list the first of them."""
        self.read += len(rows)
        self.rejected += len(rows)
        self.rejected_rows.extend(rows[: MAX_DETAILS - len(self.rejected_rows)])

    def add_lines(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Count lines of the ledger."""
        verdicts = Counter(line["verdict"] for line in lines)
        self.add(
            embedded=verdicts["written"],
            updated=verdicts["updated"],
            unchanged=verdicts["unchanged"],
            removed=verdicts["removed"],
        )
        names = [field.name for field in fields(Rejected)]
        rejected = [line for line in lines if line["verdict"] == "rejected"]
        self.add_rejected([Rejected(**{name: line[name] for name in names}) for line in rejected])

    def add_warnings(self, texts: Iterable[str]) -> None:
        """List warnings about rows, each text once: the photos of a listing share its warnings."""
        for text in texts:
            if text not in self._warned and len(self.warnings) < MAX_DETAILS:
                self._warned.add(text)
                self.warnings.append(text)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def finished(self) -> bool:
        """Whether every row of the export was processed."""
        return self.state == "finished"

    @property
    def photos_per_second(self) -> float:
        """Rows read per second of the run."""
        return self.read / self.seconds if self.seconds else 0.0

    @property
    def rejected_share(self) -> float:
        """Share of the rows that were rejected, 0 to 1."""
        return self.rejected / self.read if self.read else 0.0

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all: if the disk is full, the previous file stays. Raises OutputFailed."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replace_file(path) as draft:
                draft.write_text(self.model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise OutputFailed(
                f"The report {path} could not be written: {error}", hint="Is there room, and is the folder writable?"
            ) from error

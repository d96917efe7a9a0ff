"""What a run of ingest did. The numbers add up: read = written + unchanged + rejected."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, PrivateAttr, computed_field

from catalog.errors import OutputFailed
from catalog.listing import Rejected

KEPT = 1_000

State = Literal["running", "finished", "stopped", "failed", "killed"]


class Report(BaseModel):
    """Counts of rows. Of those written, `embedded` are new or have new bytes; `updated` kept their embedding.

    `removed` counts photos that no row names any more. `photos` is what the collection held when the run had finished.
    `stage_seconds` are those of all threads together. Rejected rows and warnings are the first thousand of each; the
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
        """Count rows once the store has confirmed them."""
        self.embedded += embedded
        self.updated += updated
        self.unchanged += unchanged
        self.removed += removed
        self.written += embedded + updated
        self.read += embedded + updated + unchanged

    def add_rejected(self, rows: Sequence[Rejected]) -> None:
        """Count rows that could not be used, and keep the first of them."""
        self.read += len(rows)
        self.rejected += len(rows)
        self.rejected_rows.extend(rows[: KEPT - len(self.rejected_rows)])

    def add_lines(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Count what the ledger has."""
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
        """Keep what was odd about rows, each text once: photos of one listing share theirs."""
        for text in texts:
            if text not in self._warned and len(self.warnings) < KEPT:
                self._warned.add(text)
                self.warnings.append(text)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def finished(self) -> bool:
        """Whether every row of the export has been seen."""
        return self.state == "finished"

    @property
    def photos_per_second(self) -> float:
        """Rows read per second of the run."""
        return self.read / self.seconds if self.seconds else 0.0

    @property
    def rejected_share(self) -> float:
        """Part of the rows that was rejected, 0 to 1."""
        return self.rejected / self.read if self.read else 0.0

    def save(self, path: Path) -> None:
        """Write as JSON, whole or not at all: what was there before outlives a full disk. Raises OutputFailed."""
        draft = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(self.model_dump_json(indent=2) + "\n")
            draft.replace(path)
        except OSError as error:
            raise OutputFailed(
                f"The report {path} could not be written: {error}", hint="Is there room, and is the folder writable?"
            ) from error

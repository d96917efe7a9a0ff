"""What an ingest works on: one object that the caller, the engines and the stages share."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from catalog.exports.export import Export
from catalog.listing import Photo, Rejected
from catalog.progress import Advance
from catalog.runs.report import Report
from catalog.settings import IngestSettings
from catalog.stage_timer import StageTimer
from catalog.store.collection import PhotoCollection
from ingest.patience import Patience
from ingest.stages.lazy_model import Model
from ingest.stages.writer import Writer


@dataclass(frozen=True, slots=True)
class Options:
    """How this run differs from the usual one. `max_removed` is a share of the collection, 0 to 1."""

    resume: bool = False
    sync: bool = False
    max_removed: float = 0.2
    dry_run: bool = False
    bulk: bool = False


@dataclass
class IngestJob:
    """One ingest. The caller gives the first fields; `ingest.run` fills in the others before an engine starts.

    `advance` is called with the number of rows that are done; `say` shows a line to the user.
    """

    export: Export
    model: Model
    photos: PhotoCollection
    settings: IngestSettings
    report: Report
    advance: Advance
    say: Callable[[str], None]
    options: Options = field(default_factory=Options)

    target: PhotoCollection | None = field(default=None, init=False)
    """The collection to look photos up in and to write to; None where a dry run finds none."""
    writer: Writer = field(init=False)
    done: frozenset[str] = field(default=frozenset(), init=False)
    """Rows that already have their line in the ledger: a resumed run passes them over."""
    timer: StageTimer = field(default_factory=StageTimer, init=False)
    patience: Patience = field(init=False)
    started_at: int = field(init=False)
    """Unix seconds."""

    def __post_init__(self) -> None:
        self.patience = Patience(self.settings.wait_seconds, self.say)
        self.started_at = int(time.time())

    def rows(self) -> Iterator[Photo | Rejected]:
        """Rows that have no line in the ledger yet."""
        return undone_rows(self.export, self.done)


Engine = Callable[[IngestJob], Mapping[str, int]]
"""Brings every row to the writer. Returns the number of threads of each stage that has more than one."""


def undone_rows(export: Export, done: frozenset[str]) -> Iterator[Photo | Rejected]:
    """Rows of an export whose places are not in `done`."""
    return (row for row in export.rows() if row.row not in done)

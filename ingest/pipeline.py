"""The job of an ingest: one object that the caller, the engines and the stages share."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from catalog.exports.export import Export
from catalog.progress import Advance
from catalog.runs.report import Report
from catalog.settings import IngestSettings
from catalog.stage_timer import StageTimer
from catalog.store.collection import PhotoCollection
from ingest.stages.lazy_model import Model
from ingest.stages.writer import Writer
from ingest.store_retry import StoreRetry


@dataclass(frozen=True, slots=True)
class Options:
    """Options of one run. `max_removed` is a share of the collection, 0 to 1."""

    resume: bool = False
    sync: bool = False
    max_removed: float = 0.2
    dry_run: bool = False
    bulk: bool = False


@dataclass
class IngestJob:
    """One ingest. The caller sets the fields of the constructor; `ingest.run` sets target, writer and done.

    `advance` is called with the number of rows that are finished; `say` shows a line to the user.
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
    """The collection to read from and to write to; None if a dry run finds none."""
    writer: Writer = field(init=False)
    done: frozenset[str] = field(default=frozenset(), init=False)
    """Rows that already have a line in the ledger: a resumed run skips them."""
    timer: StageTimer = field(default_factory=StageTimer, init=False)
    retry: StoreRetry = field(init=False)
    started_at: int = field(init=False)
    """Unix seconds."""

    def __post_init__(self) -> None:
        self.retry = StoreRetry(self.settings.wait_seconds, self.say)
        self.started_at = int(time.time())


Engine = Callable[[IngestJob], Mapping[str, int]]
"""Sends every row through the stages to the writer. Returns the threads of each stage that has more than one."""

"""Rows of an export -> photo records in the collection, by one engine or another. What is the same for all of them."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass

from catalog.exports.export import Export
from catalog.listing import Photo, Rejected
from catalog.progress import Advance
from catalog.runs.ledger import Run
from catalog.runs.report import Report
from catalog.settings import IngestSettings
from catalog.stage_timer import StageTimer
from catalog.store.collection import PhotoCollection
from ingest.idle_warning import idle_warning
from ingest.patience import Patience
from ingest.stages.batch import Confirmed
from ingest.stages.lazy_model import Model
from ingest.stages.writer import DryRun, Sink, Writer


@dataclass(frozen=True)
class Work:
    """What an engine is given. Rows in `done` are passed over; `advance` is told of rows that are done with.

    `collection` is what photos are looked up in, None where there is none yet; `now` is when the run began, in Unix
    seconds.
    """

    export: Export
    done: frozenset[str]
    model: Model
    collection: PhotoCollection | None
    settings: IngestSettings
    stages: StageTimer
    patience: Patience
    writer: Writer
    advance: Advance
    dry_run: bool
    now: int

    def rows(self) -> Iterator[Photo | Rejected]:
        """Rows that have no line in the ledger yet."""
        return rows_but(self.export, self.done)


Engine = Callable[[Work], Mapping[str, int]]
"""Brings every row to the writer; gives how many work side by side in each stage that has more than one."""


def rows_but(export: Export, done: frozenset[str]) -> Iterator[Photo | Rejected]:
    """Rows of an export whose places are not in `done`."""
    return (row for row in export.rows() if row.row not in done)


def bring_up_to_date(
    engine: Engine,
    export: Export,
    model: Model,
    collection: PhotoCollection | None,
    sink: Sink,
    settings: IngestSettings,
    run: Run,
    report: Report,
    advance: Advance,
    patience: Patience,
) -> None:
    """Bring the collection up to date with the export, filling in ledger and report as Milvus confirms.

    Rows whose bytes and metadata are stored already are not written, changed metadata is written without embedding
    again; rows that the run has in its ledger are passed over. Raises MarketlensError for what stops the run; ledger
    and report then hold what was confirmed before. `collection` is None where a dry run finds none.
    """
    started = time.monotonic()
    stages = StageTimer()

    def record(confirmed: Confirmed) -> None:
        run.add(confirmed.lines)
        report.add_lines([asdict(line) for line in confirmed.lines])
        report.add_warnings(confirmed.warnings)
        report.seconds = time.monotonic() - started

    done = frozenset(run.rows_done())
    advance(len(done))
    writer = Writer(sink, record, stages)
    dry_run = isinstance(sink, DryRun)
    work = Work(export, done, model, collection, settings, stages, patience, writer, advance, dry_run, int(time.time()))
    try:
        threads = engine(work)
    finally:
        # Also when it was stopped: what is embedded already is not thrown away.
        try:
            writer.close()
        finally:
            report.seconds = time.monotonic() - started
            report.stage_seconds = {name: round(seconds, 2) for name, seconds in stages.seconds.items()}
    # A night on which little is new leaves the network idle, and rightly so.
    if not dry_run and report.embedded > report.read / 2:
        report.idle_warning = idle_warning(stages.seconds, report.seconds, threads)

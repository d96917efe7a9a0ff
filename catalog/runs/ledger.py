"""The ledger: for every row of every run, what became of it. Written only after Milvus has confirmed.

FOLDER/<run id>/run.json          the run's report: arguments, model, times, counts
FOLDER/<run id>/rows.parquet      one line per row; while the run goes on, rows-<number>.parquet, one per batch
"""

import dataclasses
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Literal

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from catalog.errors import InvalidSetting, LedgerBroken, NotFound, OutputFailed
from catalog.listing import Rejected
from catalog.runs.report import Report

RowOutcome = Literal["written", "updated", "unchanged", "rejected", "removed"]

RUN, ROWS = "run.json", "rows.parquet"
_PARTS = "rows-*.parquet"
_MOMENT = "%Y%m%dT%H%M%SZ"
_RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one row. `stage`, `reason` and `detail` say why it was rejected; a removed photo has no row."""

    row: str
    photo_id: str
    listing_id: str
    verdict: RowOutcome
    sha256: str = ""
    stage: str = ""
    reason: str = ""
    detail: str = ""

    @classmethod
    def of_rejected(cls, row: Rejected) -> "Line":
        """The line of a row that could not be used."""
        return cls(row.row, row.photo_id, row.listing_id, "rejected", "", row.stage, row.reason, row.detail)


SCHEMA = pa.schema([(field.name, pa.string()) for field in dataclasses.fields(Line)])


class Run:
    """One run's folder in the ledger. A line that `add` has taken survives a kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parts = len(list(folder.glob(_PARTS)))

    def add(self, lines: Sequence[Line]) -> None:
        """Keep these lines. Raises OutputFailed."""
        columns = zip(*(dataclasses.astuple(line) for line in lines), strict=True)
        table = pa.table([pa.array(column, pa.string()) for column in columns], schema=SCHEMA)
        path = self.folder / f"rows-{self._parts:06d}.parquet"
        draft = path.with_suffix(".part")
        try:
            pq.write_table(table, draft)
            draft.replace(path)
        except OSError as error:
            raise OutputFailed(f"The ledger {path} could not be written: {error}", hint=_WRITABLE) from error
        self._parts += 1

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Every line so far, batch by batch. Raises LedgerBroken."""
        whole = self.folder / ROWS
        for path in [whole] if whole.exists() else sorted(self.folder.glob(_PARTS)):
            yield from _batches_of(path)

    def rejected(self, after: int, limit: int) -> tuple[list[Line], int]:
        """Up to `limit` lines of rejected rows after the first `after` of them, and how many there are in all."""
        try:
            return self._rejected(after, limit)
        except FileNotFoundError:
            return self._rejected(after, limit)  # the run ended in between: its parts are one table now

    def _rejected(self, after: int, limit: int) -> tuple[list[Line], int]:
        lines: list[Line] = []
        total = 0
        for batch in self.batches():
            rejected = batch.filter(pc.equal(batch.column("verdict"), "rejected"))
            first = max(after - total, 0)
            lines += [Line(**row) for row in rejected.slice(first, limit - len(lines)).to_pylist()]
            total += rejected.num_rows
        return lines, total

    def count(self, report: Report) -> None:
        """Add every line so far to a report."""
        for batch in self.batches():
            report.add_lines(batch.to_pylist())

    def rows_done(self) -> set[str]:
        """Places of the rows that have their line."""
        return {row for batch in self.batches() for row in batch.column("row").to_pylist()}

    def save(self, report: Report) -> None:
        """Write run.json. Raises OutputFailed."""
        report.save(self.folder / RUN)

    def finish(self, report: Report) -> None:
        """Make one table of the parts, and write run.json. Raises OutputFailed."""
        try:
            draft = self.folder / (ROWS + ".part")
            with pq.ParquetWriter(draft, SCHEMA) as writer:
                for batch in self.batches():
                    writer.write_batch(batch)
            # From here on the parts are not read any more: a kill between the two lines loses and doubles nothing.
            draft.replace(self.folder / ROWS)
            for part in self.folder.glob(_PARTS):
                part.unlink()
        except OSError as error:
            raise OutputFailed(f"The ledger {self.folder} could not be written: {error}", hint=_WRITABLE) from error
        self.save(report)


def _batches_of(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches()
    except FileNotFoundError:
        raise  # the run ended in between: for whoever reads to deal with
    except (pa.ArrowException, OSError) as error:
        raise LedgerBroken(
            f"{path} cannot be read: {error}",
            hint="Ingest again without --resume: what Milvus holds it knows itself. The folder may be deleted.",
        ) from error


class Ledger:
    """All runs of one place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def identify(self, report: Report, *, resume: bool) -> None:
        """Say in the report which run it will be: a new one, or that which `resume` goes on with. Writes nothing.

        Raises InvalidSetting as `resume` does.
        """
        new = f"{self._next_moment():{_MOMENT}}-{uuid.uuid4().hex[:6]}"
        report.run_id = self._stopped(report).run_id if resume else new
        report.host, report.process = socket.gethostname(), os.getpid()

    def start(self, report: Report) -> Run:
        """Begin the run that the report says it is, a new one where it says none. Raises OutputFailed."""
        if not report.run_id:
            self.identify(report, resume=False)
        folder = self._folder / report.run_id
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise OutputFailed(f"The ledger {folder} could not be made: {error}", hint=_WRITABLE) from error
        run = Run(folder)
        run.save(report)
        return run

    def resume(self, report: Report) -> Run:
        """Go on with the last run of this export that did not finish; the report takes over its counts.

        Raises InvalidSetting where there is none, where the export has changed since, or where photos went to another
        collection; LedgerBroken.
        """
        earlier = self._stopped(report)
        run = Run(self._folder / earlier.run_id)
        report.run_id, report.started_at = earlier.run_id, earlier.started_at
        report.host, report.process = socket.gethostname(), os.getpid()
        run.save(report)
        run.count(report)
        return run

    def note_killed(self, alive: Report) -> None:
        """Call runs killed that seem to go on into the collection of this one, which has claimed it for itself.

        Of a run in another container, or on another machine, nobody else can tell. Raises OutputFailed.
        """
        for report in self._newest_first():
            if (report.state, report.collection) == ("running", alive.collection) and report.run_id != alive.run_id:
                report.state = "killed"
                Run(self._folder / report.run_id).save(report)

    def runs(self, limit: int | None = None) -> list[Report]:
        """Runs, newest first, those still going on or killed with the counts of their lines so far.

        No more than `limit` are read.
        """
        return list(islice(self._newest_first(), limit))

    def find(self, run_id: str) -> Run:
        """Look up a run. Raises NotFound."""
        if _RUN_ID.fullmatch(run_id) and (self._folder / run_id / RUN).exists():
            return Run(self._folder / run_id)
        raise NotFound(f"There is no run {run_id!r} in the ledger {self._folder}.")

    def _stopped(self, report: Report) -> Report:
        """The last run of the report's export, which did not finish."""
        earlier = next((run for run in self._newest_first() if run.export == report.export), None)
        if earlier is None or earlier.state == "finished":
            raise InvalidSetting(
                f"The ledger {self._folder} has no stopped run of {report.export}.",
                hint="Run without --resume: what is stored already is neither read nor embedded again.",
            )
        if earlier.export_tag != report.export_tag:
            raise InvalidSetting(
                f"{report.export} has changed since the run {earlier.run_id} was stopped.", hint="Run without --resume."
            )
        # Photos of rows that have their line are in the other one: they would be passed over, and missing in this one.
        if earlier.collection != report.collection:
            raise InvalidSetting(
                f"The run {earlier.run_id} did not write to {report.collection}, which photos would go to now.",
                hint="Run without --resume.",
            )
        return earlier

    def _next_moment(self) -> datetime:
        """Now, or a second after the newest run: ids are in order, whatever happens to the clock."""
        made = [path.parent.name for path in self._folder.glob(f"*/{RUN}") if _RUN_ID.fullmatch(path.parent.name)]
        now = datetime.fromtimestamp(time.time(), UTC)
        if not made:
            return now
        newest = datetime.strptime(max(made).partition("-")[0], _MOMENT).replace(tzinfo=UTC)
        return max(now, newest + timedelta(seconds=1))

    def _newest_first(self) -> Iterator[Report]:
        for path in sorted(self._folder.glob(f"*/{RUN}"), reverse=True):
            try:
                report = Report.model_validate_json(path.read_text())
            except (OSError, UnicodeDecodeError, ValidationError):
                continue  # of another version, or damaged; its rows are still there to be read
            if report.state == "running":
                try:
                    report = _as_it_stands(report, Run(path.parent))
                except FileNotFoundError:
                    report = Report.model_validate_json(path.read_text())  # it ended in between
            yield report


def _as_it_stands(report: Report, run: Run) -> Report:
    alive = report.host != socket.gethostname() or psutil.pid_exists(report.process)
    report.state = "running" if alive else "killed"
    try:
        run.count(report)  # run.json was written when nothing was
    except LedgerBroken as error:
        report.add_warnings([error.message])
    return report


_WRITABLE = "Is there room, and is the folder writable? MARKETLENS_INGEST__LEDGER names another."

"""The ledger: the outcome of every row of every run. A line is written only after Milvus has confirmed the row.

FOLDER/<run id>/run.json          the run's report: arguments, model, times, counts
FOLDER/<run id>/rows.parquet      one line per row; during the run, rows-<number>.parquet, one per batch
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

from catalog.atomic_files import replace_file
from catalog.errors import InvalidSetting, LedgerBroken, NotFound, OutputFailed
from catalog.listing import Rejected
from catalog.runs.report import Report

RowOutcome = Literal["written", "updated", "unchanged", "rejected", "removed"]

RUN, ROWS = "run.json", "rows.parquet"
_PARTS = "rows-*.parquet"
_TIME_FORMAT = "%Y%m%dT%H%M%SZ"
_RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class Line:
    """The outcome of one row. `stage`, `reason` and `detail` say why it was rejected; a removed photo has no row."""

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
        """Make the line of a rejected row."""
        return cls(row.row, row.photo_id, row.listing_id, "rejected", "", row.stage, row.reason, row.detail)


SCHEMA = pa.schema([(field.name, pa.string()) for field in dataclasses.fields(Line)])


class Run:
    """One run's folder in the ledger. Lines survive a kill once `add` has returned."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parts = len(list(folder.glob(_PARTS)))

    def add(self, lines: Sequence[Line]) -> None:
        """Write these lines. Raises OutputFailed."""
        columns = zip(*(dataclasses.astuple(line) for line in lines), strict=True)
        table = pa.table([pa.array(column, pa.string()) for column in columns], schema=SCHEMA)
        path = self.folder / f"rows-{self._parts:06d}.parquet"
        try:
            with replace_file(path) as draft:
                pq.write_table(table, draft)
        except OSError as error:
            raise OutputFailed(f"The ledger {path} could not be written: {error}", hint=_WRITABLE) from error
        self._parts += 1

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield every line so far, batch by batch. Raises LedgerBroken."""
        table = self.folder / ROWS
        for path in [table] if table.exists() else sorted(self.folder.glob(_PARTS)):
            yield from _batches_of(path)

    def rejected(self, after: int, limit: int) -> tuple[list[Line], int]:
        """Return up to `limit` lines of rejected rows, skipping the first `after`, and the number of all of them."""
        try:
            return self._rejected(after, limit)
        except FileNotFoundError:
            return self._rejected(after, limit)  # the run ended meanwhile: its parts are one table now

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
        """Add the counts of every line so far to a report."""
        for batch in self.batches():
            report.add_lines(batch.to_pylist())

    def rows_done(self) -> set[str]:
        """Return the places of the rows that have a line."""
        return {row for batch in self.batches() for row in batch.column("row").to_pylist()}

    def save(self, report: Report) -> None:
        """Write run.json. Raises OutputFailed."""
        report.save(self.folder / RUN)

    def finish(self, report: Report) -> None:
        """Merge the parts into one table, and write run.json. Raises OutputFailed."""
        try:
            with replace_file(self.folder / ROWS) as draft, pq.ParquetWriter(draft, SCHEMA) as writer:
                for batch in self.batches():
                    writer.write_batch(batch)
            # The parts are no longer read once the table is there: a kill in between neither loses nor doubles lines.
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
        raise  # the run ended meanwhile; the caller handles it
    except (pa.ArrowException, OSError) as error:
        raise LedgerBroken(
            f"{path} cannot be read: {error}",
            hint="Ingest again without --resume: Milvus knows what it has stored. The folder may be deleted.",
        ) from error


class Ledger:
    """All runs in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def identify(self, report: Report, *, resume: bool) -> None:
        """Set the report's run id, that of the run to resume or a new one, its host and its process. Writes nothing.

        Raises InvalidSetting as `resume` does.
        """
        new = f"{self._next_time():{_TIME_FORMAT}}-{uuid.uuid4().hex[:6]}"
        report.run_id = self._stopped_run(report).run_id if resume else new
        report.host, report.process = socket.gethostname(), os.getpid()

    def start(self, report: Report) -> Run:
        """Start the run with the report's run id, which is set if it is empty. Raises OutputFailed."""
        if not report.run_id:
            self.identify(report, resume=False)
        folder = self._folder / report.run_id
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise OutputFailed(f"The ledger {folder} could not be created: {error}", hint=_WRITABLE) from error
        run = Run(folder)
        run.save(report)
        return run

    def resume(self, report: Report) -> Run:
        """Resume the last run of this export, which did not finish; its counts are added to the report.

        Raises InvalidSetting if there is no such run, the export has changed since, or the run wrote to another
        collection; LedgerBroken.
        """
        earlier = self._stopped_run(report)
        run = Run(self._folder / earlier.run_id)
        report.run_id, report.started_at = earlier.run_id, earlier.started_at
        report.host, report.process = socket.gethostname(), os.getpid()
        run.save(report)
        run.count(report)
        return run

    def note_killed(self, current: Report) -> None:
        """Mark other runs into the current run's collection as killed if their state is still `running`.

        The current run holds the claim, so they are dead. For a run in another container or on another machine there
        is no other way to tell. Raises OutputFailed.
        """
        for report in self._newest_first():
            if (report.state, report.collection) == ("running", current.collection) and report.run_id != current.run_id:
                report.state = "killed"
                Run(self._folder / report.run_id).save(report)

    def runs(self, limit: int | None = None) -> list[Report]:
        """Return up to `limit` runs, newest first; running and killed ones with the counts of their lines so far."""
        return list(islice(self._newest_first(), limit))

    def find(self, run_id: str) -> Run:
        """Look up a run. Raises NotFound."""
        if _RUN_ID.fullmatch(run_id) and (self._folder / run_id / RUN).exists():
            return Run(self._folder / run_id)
        raise NotFound(f"There is no run {run_id!r} in the ledger {self._folder}.")

    def _stopped_run(self, report: Report) -> Report:
        """Return the last run of the report's export, which must not have finished. Raises InvalidSetting."""
        earlier = next((run for run in self._newest_first() if run.export == report.export), None)
        if earlier is None or earlier.state == "finished":
            raise InvalidSetting(
                f"The ledger {self._folder} has no stopped run of {report.export}.",
                hint="Run without --resume: photos already stored are neither read nor embedded again.",
            )
        if earlier.export_tag != report.export_tag:
            raise InvalidSetting(
                f"{report.export} has changed since the run {earlier.run_id} was stopped.", hint="Run without --resume."
            )
        # Rows that have a line would be skipped, but their photos are in the other collection and missing in this one.
        if earlier.collection != report.collection:
            raise InvalidSetting(
                f"The run {earlier.run_id} did not write to {report.collection}, the current collection.",
                hint="Run without --resume.",
            )
        return earlier

    def _next_time(self) -> datetime:
        """Return now, or a second after the newest run if that is later: ids rise even if the clock is set back."""
        run_ids = [path.parent.name for path in self._folder.glob(f"*/{RUN}") if _RUN_ID.fullmatch(path.parent.name)]
        now = datetime.fromtimestamp(time.time(), UTC)
        if not run_ids:
            return now
        newest = datetime.strptime(max(run_ids).partition("-")[0], _TIME_FORMAT).replace(tzinfo=UTC)
        return max(now, newest + timedelta(seconds=1))

    def _newest_first(self) -> Iterator[Report]:
        for path in sorted(self._folder.glob(f"*/{RUN}"), reverse=True):
            try:
                report = Report.model_validate_json(path.read_text())
            except (OSError, UnicodeDecodeError, ValidationError):
                continue  # damaged or of another version; its rows can still be read
            if report.state == "running":
                try:
                    report = _with_current_state(report, Run(path.parent))
                except FileNotFoundError:
                    report = Report.model_validate_json(path.read_text())  # the run ended meanwhile
            yield report


def _with_current_state(report: Report, run: Run) -> Report:
    alive = report.host != socket.gethostname() or psutil.pid_exists(report.process)
    report.state = "running" if alive else "killed"
    try:
        run.count(report)  # run.json was written before the first line
    except LedgerBroken as error:
        report.add_warnings([error.message])
    return report


_WRITABLE = "Is there room, and is the folder writable? MARKETLENS_INGEST__LEDGER names another folder."

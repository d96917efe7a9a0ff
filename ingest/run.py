"""An ingest run, from its first line in the ledger to its last."""

import tempfile
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path

from catalog.errors import CollectionMissing, InvalidSetting, OutputFailed
from catalog.runs.ledger import Ledger, Run
from catalog.store.collection import PhotoCollection
from ingest.claim import hold_claim
from ingest.idle_warning import idle_warning
from ingest.pipeline import Engine, IngestJob, Options
from ingest.stages.batch import Confirmed
from ingest.stages.bulk_sink import bulk_loading, finish_interrupted_load
from ingest.stages.writer import DryRunSink, Sink, UpsertSink, Writer
from ingest.sync import find_stale, remove_stale

__all__ = ["IngestJob", "Options", "ingest"]


def ingest(engine: Engine, job: IngestJob) -> None:
    """Bring the collection up to date with the export; the ledger gets a line for every row.

    Rows whose bytes and metadata are already stored are not written; rows with new metadata only are not embedded
    again. Raises MarketlensError if the run cannot continue; ledger and report then hold what was confirmed before.
    """
    report, options = job.report, job.options
    if options.resume and options.dry_run:
        raise InvalidSetting(
            "--resume and --dry-run do not go together: a dry run keeps no ledger and cannot resume.",
            hint="Run without --resume: rows that are in Milvus count as unchanged.",
        )
    report.export_tag = job.export.digest()
    report.model_fingerprint = job.model.card.fingerprint
    with ExitStack() as stack:
        job.target = _open(job)
        report.collection = job.target.info().name if job.target else ""
        folder = stack.enter_context(tempfile.TemporaryDirectory()) if options.dry_run else job.settings.ledger
        ledger = Ledger(Path(folder))
        ledger.identify(report, resume=options.resume)
        if job.target and not options.dry_run:
            # The claim comes before the ledger: the run to resume may be alive, and its ledger cannot always tell.
            stack.enter_context(hold_claim(job.target, report))
            ledger.note_killed(report)
        run = ledger.resume(report) if options.resume else ledger.start(report)
        try:
            with job.retry.ended_by_signals():
                _write_rows(engine, job, run)
                if job.target:
                    _complete(job, job.target, run)
            report.state = "finished"
        except KeyboardInterrupt:
            report.state = "stopped"
            raise
        except BaseException:
            report.state = "failed"
            raise
        finally:
            if report.finished:
                run.finish(report)
            else:
                with suppress(OutputFailed):  # report the first error, not that the report could not be saved either
                    run.save(report)


def _open(job: IngestJob) -> PhotoCollection | None:
    card = job.model.card
    if not job.options.dry_run:
        job.photos.ensure(card.fingerprint, card.architecture.head.dim, model=str(job.model.folder))
        return job.photos
    try:
        job.photos.require(card.fingerprint)
    except CollectionMissing:
        return None  # a dry run without a collection: every row is new
    return job.photos


def _write_rows(engine: Engine, job: IngestJob, run: Run) -> None:
    """Run the engine over every row; record in ledger and report what Milvus confirms."""
    report = job.report
    if job.target and not job.options.dry_run:
        job.target.notes.begin_changes()
    with _sink(job) as sink:
        started = time.monotonic()

        def record(confirmed: Confirmed) -> None:
            run.add(confirmed.lines)
            confirmed.count_in(report)
            report.seconds = time.monotonic() - started

        job.done = frozenset(run.rows_done())
        job.advance(len(job.done))
        job.writer = Writer(sink, record, job.timer)
        try:
            threads = engine(job)
        finally:
            # Also when the run was stopped: photos that are already embedded are still written.
            try:
                job.writer.close()
            finally:
                report.seconds = time.monotonic() - started
                report.stage_seconds = {name: round(seconds, 2) for name, seconds in job.timer.seconds.items()}
        # With few new photos an idle network is no problem.
        if not job.options.dry_run and report.embedded > report.read / 2:
            report.idle_warning = idle_warning(job.timer.seconds, report.seconds, threads)


def _sink(job: IngestJob) -> AbstractContextManager[Sink]:
    if job.target is None or job.options.dry_run:
        return nullcontext(DryRunSink())
    cut_off = finish_interrupted_load(job.target, job.settings.bulk, job.retry)
    if job.options.bulk:
        return bulk_loading(job.target, job.settings.bulk, job.retry, job.model, cut_off=cut_off)
    return nullcontext(UpsertSink(job.target, job.retry, job.model))


def _complete(job: IngestJob, collection: PhotoCollection, run: Run) -> None:
    report, options = job.report, job.options
    if report.written and not options.dry_run:
        job.retry(collection.writer.flush)
    if options.sync:
        stale = find_stale(run, collection)
        report.sync_refused = stale.refusal(options.max_removed)
        if not report.sync_refused:
            remove_stale(stale, run, None if options.dry_run else collection, report)
    report.photos = job.retry(collection.reader.count if options.dry_run else collection.notes.end_changes)

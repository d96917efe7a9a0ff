"""One run from its first line in the ledger to its last."""

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import CollectionMissing, InvalidSetting, OutputFailed
from catalog.exports.export import Export
from catalog.progress import Advance
from catalog.runs.ledger import Ledger, Run
from catalog.runs.report import Report
from catalog.settings import IngestSettings
from catalog.store.collection import PhotoCollection
from ingest.claim import claimed
from ingest.patience import Patience
from ingest.pipeline import Engine, bring_up_to_date
from ingest.stages.bulk_sink import bulk_loading, settle
from ingest.stages.lazy_model import Model
from ingest.stages.writer import DryRun, Sink, Upserts
from ingest.sync import find_gone, remove_gone


@dataclass(frozen=True, slots=True)
class Options:
    """How this run differs from the usual one. `max_removed` is a share of the collection, 0 to 1."""

    resume: bool = False
    sync: bool = False
    max_removed: float = 0.2
    dry_run: bool = False
    bulk: bool = False


def ingest(
    engine: Engine,
    export: Export,
    model: Model,
    collection: PhotoCollection,
    settings: IngestSettings,
    report: Report,
    advance: Advance,
    say: Callable[[str], None],
    options: Options,
) -> None:
    """Bring the collection up to date with the export; the ledger has a line for every row.

    Raises MarketlensError for what stops the run; ledger and report then hold what was confirmed before.
    """
    if options.resume and options.dry_run:
        raise InvalidSetting(
            "--resume and --dry-run do not go together: a dry run is kept in no ledger, and goes on with none.",
            hint="Leave --resume out: rows that are in Milvus count as unchanged.",
        )
    patience = Patience(settings.wait_seconds, say)
    report.export_tag = export.digest()
    report.model_fingerprint = model.card.fingerprint
    with ExitStack() as stack:
        target = _open(collection, model, dry_run=options.dry_run)
        report.collection = target.info().name if target else ""
        folder = stack.enter_context(tempfile.TemporaryDirectory()) if options.dry_run else settings.ledger
        ledger = Ledger(Path(folder))
        ledger.identify(report, resume=options.resume)
        if target and not options.dry_run:
            # Before the ledger is written: the run to go on with may be alive, and its ledger cannot always tell.
            stack.enter_context(claimed(target, report))
            ledger.note_killed(report)
        run = ledger.resume(report) if options.resume else ledger.start(report)
        try:
            with patience.ended_by_signals():
                if target and not options.dry_run:
                    target.notes.begin_changes()
                with _sink(target, settings, patience, options) as sink:
                    bring_up_to_date(engine, export, model, target, sink, settings, run, report, advance, patience)
                if target:
                    _complete(target, run, report, patience, options)
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
                with suppress(OutputFailed):  # what ended the run is the news, not that its report has no room either
                    run.save(report)


def _open(collection: PhotoCollection, model: Model, *, dry_run: bool) -> PhotoCollection | None:
    if not dry_run:
        collection.ensure(model.card.fingerprint, model.card.architecture.head.dim, model=str(model.folder))
        return collection
    try:
        collection.require(model.card.fingerprint)
    except CollectionMissing:
        return None  # everything would be new
    return collection


def _sink(
    target: PhotoCollection | None, settings: IngestSettings, patience: Patience, options: Options
) -> AbstractContextManager[Sink]:
    if target is None or options.dry_run:
        return nullcontext(DryRun())
    cut_off = settle(target, settings.bulk, patience)
    if options.bulk:
        return bulk_loading(target, settings.bulk, patience, cut_off=cut_off)
    return nullcontext(Upserts(target, patience))


def _complete(
    collection: PhotoCollection,
    run: Run,
    report: Report,
    patience: Patience,
    options: Options,
) -> None:
    if report.written and not options.dry_run:
        patience(collection.writer.flush)
    if options.sync:
        gone = find_gone(run, collection)
        report.sync_refused = gone.refusal(options.max_removed)
        if not report.sync_refused:
            remove_gone(gone, run, None if options.dry_run else collection, report)
    report.photos = patience(collection.reader.count if options.dry_run else collection.notes.end_changes)

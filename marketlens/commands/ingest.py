"""`marketlens ingest EXPORT` and `marketlens ingest status`."""

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from catalog.extras import needs
from marketlens.options import ExportArgument, ModelOption, UriOption, load_settings, open_store

if TYPE_CHECKING:
    from catalog.settings import Settings
    from ingest.pipeline import Engine


class _RunByDefault(TyperGroup):
    """Makes `run` the default command: `ingest EXPORT` is short for `ingest run EXPORT`, for its help as well."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_RunByDefault,
    no_args_is_help=True,
    help="Bring the catalogue up to date: marketlens ingest EXPORT.",
)


@app.command()
def run(
    export: ExportArgument,
    uri: UriOption = None,
    model: ModelOption = None,
    max_rejected: Annotated[
        float, typer.Option(min=0, max=1, help="Exit with 1 if a larger share of rows is rejected.")
    ] = 0.05,
    report: Annotated[Path, typer.Option(help="The JSON report to write.")] = Path("data/report.json"),
    resume: Annotated[bool, typer.Option("--resume", help="Resume the last stopped run of this export.")] = False,
    sync: Annotated[bool, typer.Option("--sync", help="Remove photos that the export no longer has.")] = False,
    max_removed: Annotated[
        float, typer.Option(min=0, max=1, help="With --sync: remove nothing if it would be a larger share.")
    ] = 0.2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would happen; write nothing.")] = False,
    engine: Annotated[
        Literal["local", "ray"] | None,
        typer.Option(help="ray: the cluster at RAY_ADDRESS, or a local one without it. Default: the settings."),
    ] = None,
    bulk: Annotated[
        bool, typer.Option("--bulk", help="For the first load into a server: write Parquet files that it imports.")
    ] = False,
) -> None:
    """Embed new photos of an export and write them to Milvus; unchanged photos cost next to nothing.

    Short form: marketlens ingest EXPORT. List the past runs: marketlens ingest status.
    """
    from catalog.exports.export import open_export

    settings = load_settings(uri=uri, model=model, ingest={"engine": engine})
    rows = open_export(export)

    run_engine = _load_engine(settings)
    if bulk:
        with needs("bulk"):
            from catalog.store.bulk_import import require_place
        require_place(settings.milvus, settings.ingest.bulk)
    from catalog.runs.report import Report
    from ingest.report_tables import render
    from ingest.run import IngestJob, Options, ingest
    from ingest.stages.lazy_model import LazyEmbedder
    from marketlens.terminal import EXIT_REJECTED, out, progress, say, sigterm_as_interrupt

    options = Options(resume=resume, sync=sync, max_removed=max_removed, dry_run=dry_run, bulk=bulk)
    result = Report(export=export, arguments=asdict(options) | {"engine": settings.ingest.engine})
    # Save at the start too: an invalid path fails before the work, and no earlier run's report is left there.
    result.save(report)
    lazy = LazyEmbedder(settings.model.path)
    with closing(open_store(settings, consistency="Session")) as photos, sigterm_as_interrupt():
        try:
            with progress("Ingesting", rows.photos) as advance:
                job = IngestJob(rows, lazy, photos, settings.ingest, result, advance, say, options)
                ingest(run_engine, job)
        finally:
            if result.state == "running":
                result.state = "failed"  # refused before it started
            # Also after an interruption: the report counts confirmed rows only, and the next run continues from there.
            if result.read:
                out.print(render(result))
            result.save(report)
            out.print(f"Report: {report}", soft_wrap=True)
    if result.rejected_share > max_rejected:
        out.print(f"Rejected {result.rejected_share:.1%} of the rows, more than --max-rejected {max_rejected:.1%}.")
        raise typer.Exit(EXIT_REJECTED)
    if result.sync_refused:
        out.print(result.sync_refused, soft_wrap=True)
        raise typer.Exit(EXIT_REJECTED)


def _load_engine(settings: "Settings") -> "Engine":
    if settings.ingest.engine == "local":
        from ingest.engines.local import run_locally

        return run_locally
    with needs("ray"):
        from ingest.engines.ray_cluster import require_server, run_on_ray

    from marketlens.terminal import RAY_ADVICE, filter_stderr

    require_server(settings.milvus)
    filter_stderr(RAY_ADVICE)
    return run_on_ray


@app.command()
def status(limit: Annotated[int, typer.Option(min=1, help="Number of runs to list, newest first.")] = 20) -> None:
    """List the runs in the ledger."""
    from catalog.runs.ledger import Ledger
    from marketlens.tables import runs_table
    from marketlens.terminal import out

    settings = load_settings()
    runs = Ledger(settings.ingest.ledger).runs(limit)
    if not runs:
        out.print(f"No run in {settings.ingest.ledger} yet.", soft_wrap=True)
        return
    out.print(runs_table(runs))
    out.print(f"Every row of a run: {settings.ingest.ledger}/<run>/rows.parquet", soft_wrap=True)

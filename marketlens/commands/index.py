"""`marketlens index`: make a build beside the live collection, check it, promote it, roll back, drop it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marketlens.options import UriOption, load_settings, open_store

if TYPE_CHECKING:
    from catalog.settings import Settings
    from catalog.store.builds import CollectionInfo
    from catalog.store.collection import PhotoCollection

EXIT_CHECK_FAILED = 1

app = typer.Typer(
    no_args_is_help=True, help="Change the model or the index without downtime: a build beside the live collection."
)

BuildArgument = Annotated[
    str | None, typer.Argument(metavar="BUILD", help="Collection or build id. Default: the newest.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Report what would be done.")]


@app.command()
def status(uri: UriOption = None) -> None:
    """List all builds; mark the live one and the one that rollback would return to."""
    from rich.table import Table

    from marketlens.terminal import out

    with _open_without_model(uri) as (_, photos):
        live = photos.builds.live()
        table = Table(title="Builds")
        for heading in ("", "collection", "state", "photos", "index", "model"):
            table.add_column(heading, justify="right" if heading == "photos" else "left", overflow="fold")
        for info in photos.builds.all():
            mark = {live.name: "live", live.previous: "rollback"}.get(info.name, "")
            count = f"{photos.at(info).reader.count():,}"
            model = f"{info.fingerprint[:12]} {info.model}".strip()
            table.add_row(mark, info.name, info.state, count, info.index.type, model)
    out.print(table)


@app.command()
def build(
    uri: UriOption = None,
    model: Annotated[Path | None, typer.Option("--model", help="Model folder. Default: the settings.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the newest build, or bring it up to date.")] = False,
) -> None:
    """Make a build of the live collection's photos, with this model and the index of the settings.

    If the model is the live collection's, vectors are copied; if it only has other words, the titles are mixed anew;
    otherwise every photo is read and embedded.
    """
    with _open_without_model(uri, model) as (settings, photos):
        from index_builds import golden_queries
        from index_builds.build import fill, resume_build, start_build
        from index_builds.build_report import BuildReport
        from marketlens.terminal import out, progress, sigterm_as_interrupt

        live = photos.builds.live()
        own = load_settings().model.path
        if resume:
            info, method = resume_build(photos, model, own=own)
        else:
            info, method = start_build(photos, settings.model.path, settings.index, own=own)
        out.print(f"{live.name} (live) -> {info.name}: {method}.", soft_wrap=True)
        if not golden_queries.golden_path(settings.check.golden, live.name).exists():
            golden_queries.save_answers(photos.at(live), settings.check.golden)
        report = BuildReport(info.name)
        with sigterm_as_interrupt():
            try:
                fill(photos.at(live), photos.at(info), method, settings.ingest, report, progress)
            finally:
                out.print(report.render())
                if not report.finished:
                    out.print("To resume it: marketlens index build --resume")
        out.print("Next: marketlens index check, then marketlens index promote")


@app.command()
def check(build: BuildArgument = None, uri: UriOption = None) -> None:
    """Compare a build with the live collection, or the live one with its predecessor; exit with 1 if it is worse."""
    with _open_without_model(uri) as (settings, photos):
        from index_builds import check as checking
        from marketlens.terminal import out

        chosen = _find_build(photos, build)
        live = photos.builds.live()
        before = photos.builds.previous() if chosen.name == live.name else live
        result = checking.check(
            photos.at(before), photos.at(chosen), settings.check.golden, min_recall=settings.check.min_recall
        )
    out.print(result.render())
    for failure in result.failures:
        out.print(f"Failed: {failure}.", soft_wrap=True)
    if result.failures:
        raise typer.Exit(EXIT_CHECK_FAILED)
    out.print(f"{chosen.name} passed all checks.", soft_wrap=True)


@app.command("golden")
def save_golden(
    uri: UriOption = None,
    queries: Annotated[int, typer.Option(min=1, help="Number of photos to search with.")] = 200,
) -> None:
    """Save the live collection's current answers for later checks. `index build` does so if none are saved."""
    with _open_without_model(uri) as (settings, photos):
        from index_builds import golden_queries
        from marketlens.terminal import out

        path = golden_queries.save_answers(photos.at(photos.builds.live()), settings.check.golden, queries)
    out.print(f"Golden queries: {path}", soft_wrap=True)


@app.command()
def promote(
    build: BuildArgument = None,
    uri: UriOption = None,
    force: Annotated[bool, typer.Option("--force", help="Promote even if its photos differ.")] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Make a build the live one, in one step."""
    with _open_without_model(uri) as (_, photos):
        from index_builds import promotion
        from marketlens.terminal import out

        chosen, live = _find_build(photos, build), photos.builds.live()
        if dry_run:
            promotion.require_promotable(photos, chosen, force=force)
            out.print(f"Would promote {chosen.name} to replace {live.name}.", soft_wrap=True)
            return
        promotion.promote(photos, chosen, force=force)
        out.print(f"Live: {chosen.name}; before: {live.name}. To go back: marketlens index rollback", soft_wrap=True)
        if chosen.fingerprint != live.fingerprint:
            out.print(f"Ingest and search need its model: MARKETLENS_MODEL__PATH={chosen.model}", soft_wrap=True)


@app.command()
def rollback(uri: UriOption = None, dry_run: DryRunOption = False) -> None:
    """Return to the build that was live before, in one step. It lacks what was ingested since."""
    with _open_without_model(uri) as (_, photos):
        from marketlens.terminal import out

        live = photos.builds.live()
        if dry_run:
            out.print(f"Would go back from {live.name} to {photos.builds.previous().name}.", soft_wrap=True)
            return
        back = photos.builds.rollback()
        out.print(f"Live: {back.name}. Run the ingest again to bring it up to date.", soft_wrap=True)
        out.print(f"To go forward again: marketlens index promote {live.name}", soft_wrap=True)
        if back.fingerprint != live.fingerprint:
            out.print(f"Its model: MARKETLENS_MODEL__PATH={back.model or 'FOLDER'}", soft_wrap=True)


@app.command()
def drop(
    builds: Annotated[list[str], typer.Argument(metavar="BUILD...", help="Collections or build ids.")],
    uri: UriOption = None,
    force: Annotated[bool, typer.Option("--force", help="Also drop the build that rollback would return to.")] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Remove builds permanently; never the live one."""
    with _open_without_model(uri) as (_, photos):
        from marketlens.terminal import out

        chosen = [photos.builds.find(name) for name in builds]
        for info in chosen:  # all or none
            photos.builds.require_droppable(info, force=force)
        for info in chosen:
            if not dry_run:
                photos.builds.drop(info, force=force)
            out.print(f"{'Would drop' if dry_run else 'Dropped'} {info.name}.", soft_wrap=True)


@contextmanager
def _open_without_model(uri: str | None, model: Path | None = None) -> Iterator[tuple["Settings", "PhotoCollection"]]:
    """Open the store without a model. Raises CollectionMissing instead of creating an embedded database."""
    settings = load_settings(uri=uri, model=model)
    with closing(open_store(settings, consistency="Session", must_exist=True)) as photos:
        yield settings, photos


def _find_build(photos: "PhotoCollection", build: str | None) -> "CollectionInfo":
    return photos.builds.find(build) if build else photos.builds.newest()

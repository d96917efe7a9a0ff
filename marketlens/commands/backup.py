"""`marketlens backup DEST` and `marketlens restore SRC`."""

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marketlens.options import ModelOption, UriOption, load_settings, open_store

if TYPE_CHECKING:
    from marketlens.backup.manifest import Manifest


def backup(
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="The folder to create.")],
    uri: UriOption = None,
    model: ModelOption = None,
) -> None:
    """Write the live collection and everything that belongs to it to a folder for `marketlens restore`.

    Photos with their embeddings, model, verdicts, uploaded photos, ledger, insights, golden queries. No API keys.
    """
    from catalog.atomic_files import refuse_existing
    from marketlens.backup.writer import make_backup
    from marketlens.terminal import out, progress, sigterm_as_interrupt

    settings = load_settings(uri=uri, model=model)
    refuse_existing(dest)
    started = time.monotonic()
    with closing(open_store(settings, consistency="Session", must_exist=True)) as photos, sigterm_as_interrupt():
        manifest = make_backup(photos, settings, dest, progress)
    _show("Backup", _contents(manifest), started)
    if manifest.changed_meanwhile:
        out.print("Photos that were added or removed during the backup may or may not be in it.")
    out.print(f"Backup: {dest}. It holds no API keys and no settings, because they are secret.", soft_wrap=True)


def restore(
    src: Annotated[Path, typer.Argument(metavar="SRC", help="A folder that marketlens backup made.")],
    uri: UriOption = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="Folder for the backup's model. Default: the settings.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the existing catalogue with a new build.")
    ] = False,
) -> None:
    """Fill Milvus (Lite or a server) from a backup without embedding. Damaged or altered backups are refused."""
    from marketlens.backup.manifest import check_files, read_manifest
    from marketlens.terminal import out, progress, say, sigterm_as_interrupt

    settings = load_settings(uri=uri, model=model)
    started = time.monotonic()
    manifest = read_manifest(src)
    with progress("Checking", len(manifest.files), "files") as advance:
        check_files(src, manifest, advance)
    with closing(open_store(settings, consistency="Session")) as photos, sigterm_as_interrupt():
        from marketlens.backup.restore import restore as run

        restored = run(src, manifest, photos, settings, progress, say, replace=replace)
    rows = [
        ("photos", f"{manifest.photos:,} in {restored.info.name}"),
        ("index", f"{restored.info.index.type}, in the backup {manifest.index.type}"),
        ("model", f"{settings.model.path}, {_copied_text(restored.model_files)}"),
        ("uploaded photos", f"{settings.api.photos}, {_copied_text(restored.uploads)}"),
        ("ledger", f"{settings.ingest.ledger}, {_copied_text(restored.ledger_files)}"),
        ("verdicts", f"{restored.verdicts:,} new" if restored.verdicts or not manifest.verdicts else "unchanged"),
    ]
    _show(f"Restored from {src}", rows, started)
    out.print("A backup holds no API keys. Create new ones: marketlens keys create NAME", soft_wrap=True)


def _contents(manifest: "Manifest") -> list[tuple[str, str]]:
    from marketlens.backup import manifest as layout

    def file_count(folder: str) -> str:
        return f"{len(list(manifest.files_in(folder))):,} files"

    return [
        ("collection", manifest.collection),
        ("photos with embeddings", f"{manifest.photos:,}"),
        ("model", manifest.fingerprint[:12]),
        ("verdicts", f"{manifest.verdicts:,}"),
        ("uploaded photos", file_count(layout.UPLOADS)),
        ("ledger", file_count(layout.LEDGER)),
        ("insights", file_count(layout.INSIGHTS)),
        ("golden queries", "yes" if layout.GOLDEN in manifest.files else "none"),
    ]


def _copied_text(count: int) -> str:
    return f"{count:,} new files"


def _show(title: str, rows: list[tuple[str, str]], started: float) -> None:
    from rich.table import Table
    from rich.text import Text

    from marketlens.terminal import out

    table = Table(title=Text(title), show_header=False)
    for label, value in [*rows, ("time", f"{time.monotonic() - started:,.0f} s")]:
        table.add_row(label, Text(value))
    out.print(table)

"""`marketlens prepare`, `train`, `retrain` and `evaluate`: from an export to an evaluated model folder."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from catalog.extras import needs
from marketlens.options import EXPORT_HELP, WeightsOption, load_settings


def prepare(
    exports: Annotated[list[str], typer.Argument(metavar="EXPORT...", help=EXPORT_HELP)],
    out: Annotated[Path, typer.Option(help="The folder to create.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same splits.")] = 0,
) -> None:
    """Create a data set for training: clean table, category encoder, splits without leaks, report."""
    from catalog.exports.export import open_export
    from catalog.photo_files.hosts import make_reader

    settings = load_settings()
    opened = [open_export(export) for export in exports]
    with needs("train"):
        from embedding.training import prepare
    from marketlens import terminal

    read = make_reader(settings.ingest.max_photo_bytes, settings.ingest.network_seconds)
    with terminal.progress("Preparing", sum(export.photos for export in opened)) as advance:
        report = prepare.prepare(opened, out, seed=seed, read=read, advance=advance)
    terminal.out.print(report.render())
    terminal.out.print(f"Data set: {out}", soft_wrap=True)


def train(
    prepared: Annotated[Path, typer.Argument(help="A folder that marketlens prepare made.")],
    out: Annotated[Path, typer.Option(help="The model folder to create.")],
    recipe: Annotated[
        Literal["listing", "seed"], typer.Option(help="seed is the student system's recipe, a baseline.")
    ] = "listing",
    weights: WeightsOption = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    head_epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Epochs of the head alone, on cached features: seconds each. Default: 10; recipe seed: 30."
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=0, help="Epochs of all layers after those; 0 trains only the head.")] = 8,
    batch_size: Annotated[int, typer.Option(min=4, help="Photos per batch; a multiple of 4.")] = 64,
    photo_size: Annotated[int, typer.Option(min=32, help="Side of a training photo in pixels.")] = 160,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate of the trunk's last stage.")] = 1.5e-4,
    head_learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate of the head. Default: 0.0005; recipe seed: 0.01.")
    ] = None,
    patience: Annotated[int, typer.Option(min=1, help="Stop after this many epochs without an improvement.")] = 6,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a run that was killed.")] = False,
) -> None:
    """Train a model on a prepared data set.

    On several GPUs: torchrun --nproc-per-node N -m marketlens train PREPARED --out FOLDER.
    """
    from pydantic import ValidationError

    from catalog.errors import InvalidSetting

    with needs("train"):
        from embedding.training.train import TrainingArguments
        from embedding.training.train import train as run
    from marketlens import terminal
    from marketlens.tables import figures_table

    try:
        arguments = TrainingArguments(
            recipe=recipe,
            seed=seed,
            head_epochs=head_epochs or (30 if recipe == "seed" else 10),
            epochs=epochs,
            batch_size=batch_size,
            photo_size=photo_size,
            learning_rate=learning_rate,
            head_learning_rate=head_learning_rate or (1e-2 if recipe == "seed" else 5e-4),
            patience=patience,
        )
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise InvalidSetting(f"--{option} {first['input']}: {first['msg']}") from error
    card = run(
        prepared,
        out,
        arguments,
        weights=weights,
        resume=resume,
        progress=terminal.progress,
        say=lambda line: terminal.out.print(line, soft_wrap=True),
    )
    if card is not None:
        terminal.out.print(figures_table(card))
        terminal.out.print(f"Model {card.fingerprint[:12]} in {out}; log and worst misses in {out}.run", soft_wrap=True)


def retrain(
    twin: Annotated[Path, typer.Argument(help="A model folder that marketlens train made.")],
    prepared: Annotated[Path, typer.Argument(help="The data set that the model was trained on.")],
    out: Annotated[Path, typer.Option(help="The model folder to create.")],
    weights: WeightsOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a run that was killed.")] = False,
) -> None:
    """Retrain an evaluated model on all splits; carry its metrics over."""
    from catalog.errors import ModelBroken
    from embedding.card import read_card

    card = read_card(twin)
    with needs("train"):
        from embedding.training.train import TrainingArguments
        from embedding.training.train import train as run
    from marketlens import terminal

    arguments = card.training.get("arguments", {})
    if "recipe" not in arguments or "twin" in arguments:
        raise ModelBroken(f"{twin} was not made by marketlens train.", hint="Train a model first: marketlens train.")
    trained = run(
        prepared,
        out,
        TrainingArguments(**{name: arguments[name] for name in TrainingArguments.model_fields}),
        weights=weights,
        resume=resume,
        progress=terminal.progress,
        say=lambda line: terminal.out.print(line, soft_wrap=True),
        twin=card,
    )
    if trained is not None:
        terminal.out.print(f"Model {trained.fingerprint[:12]} in {out}; log in {out}.run", soft_wrap=True)


def words(
    paths: Annotated[
        list[str], typer.Argument(metavar="MODEL EXPORT...", help="A model folder, then one or more exports.")
    ],
    out: Annotated[Path, typer.Option(help="The model folder to create.")],
    title_share: Annotated[
        float, typer.Option(min=0, max=0.45, help="Share of the title in a stored vector; 0 stores the photo alone.")
    ] = 0.45,
    kind_share: Annotated[
        float | None,
        typer.Option(min=0.05, max=0.95, help="Also shift the embeddings of photos, as `model balance` does."),
    ] = None,
) -> None:
    """Teach a model the words of your titles: search by words, and better search by photo.

    Without --kind-share, the embeddings of photos do not change, and `marketlens index build` brings a collection over
    without reading photos.
    """
    from catalog.errors import InvalidSetting
    from catalog.exports.export import open_export
    from catalog.photo_files.hosts import make_reader

    folder, *exports = paths
    if not exports:
        raise InvalidSetting("A model folder and an export are both required.", hint="marketlens words MODEL EXPORT")
    settings = load_settings()
    rows = [open_export(export) for export in exports]
    with needs("train"):
        from embedding.training.words_model import add_words
    from marketlens import terminal
    from marketlens.tables import figures_table

    read = make_reader(settings.ingest.max_photo_bytes, settings.ingest.network_seconds)
    card = add_words(Path(folder), rows, out, title_share, kind_share=kind_share, read=read, progress=terminal.progress)
    terminal.out.print(figures_table(card))
    terminal.out.print(f"Model {card.fingerprint[:12]} in {out}.", soft_wrap=True)


def evaluate(
    models: Annotated[list[str], typer.Argument(metavar="MODEL... EXPORT", help="Model folders, then an export.")],
    out: Annotated[Path, typer.Option(help="The folder to create.")] = Path("data/evaluation"),
) -> None:
    """Compare models on listings that none of them was trained on."""
    from catalog.errors import InvalidSetting
    from catalog.exports.export import open_export
    from catalog.photo_files.hosts import make_reader

    *names, export = models
    if not names:
        raise InvalidSetting("A model folder and an export are both required.", hint="marketlens evaluate MODEL EXPORT")
    settings = load_settings()
    rows = open_export(export)
    with needs("train"):
        from embedding.evaluation.evaluate import evaluate as run
    from marketlens import terminal

    result = run(
        [Path(name) for name in names],
        rows,
        out,
        read=make_reader(settings.ingest.max_photo_bytes, settings.ingest.network_seconds),
        progress=terminal.progress,
    )
    terminal.out.print(result.render())
    terminal.out.print(f"Table and plots: {out}", soft_wrap=True)

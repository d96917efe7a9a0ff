"""The `marketlens` command. A room is imported only when it is entered: Milvus and training take seconds."""

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

import typer

from catalog.extras import needs
from marketlens.commands import backup, index, ingest, keys
from marketlens.options import ExportArgument, ModelOption, UriOption, load_settings, open_catalogue

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Visual search for marketplaces: a photo finds the listings that look like it.",
)
model_app = typer.Typer(no_args_is_help=True, help="Model folders.")
app.add_typer(ingest.app, name="ingest")
app.add_typer(model_app, name="model")
app.add_typer(index.app, name="index")
app.add_typer(keys.app, name="keys")
app.command()(backup.backup)
app.command()(backup.restore)

WeightsOption = Annotated[
    Path | None, typer.Option("--weights", help="State dict of resnet50() in safetensors (or .xz), not a download.")
]


def main() -> None:
    """Run the command; a user's mistake, or too little memory, ends in a message, not in a traceback."""
    from catalog.errors import MarketlensError

    try:
        app()
    except Exception as error:
        from marketlens.terminal import fail, is_memory_short

        if isinstance(error, MarketlensError):
            sys.exit(fail(error))
        if is_memory_short(error):
            hint = "Give it more: embedding takes up to 2 GB. An ingest that is run again goes on where it was."
            sys.exit(fail(MarketlensError(f"There is not enough memory: {error}", hint=hint)))
        raise


@app.command()
def embed(
    export: ExportArgument,
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    model: ModelOption = None,
) -> None:
    """Write photo_id, listing_id, category and embedding of every usable photo to Parquet."""
    from catalog.exports.export import open_export

    settings = load_settings(model=model)
    rows = open_export(export)

    from catalog.runs.report import Report
    from embedding.embedder import Embedder
    from ingest.report_tables import render
    from ingest.vector_export import embed_export
    from marketlens import terminal

    embedder = Embedder.load(settings.model.path)
    report = Report(export=export)
    with terminal.progress("Embedding", rows.photos) as advance:
        embed_export(rows, embedder, out, settings.ingest, report, advance)
    terminal.out.print(render(report))
    terminal.out.print(f"Embeddings: {out}", soft_wrap=True)


@app.command()
def search(
    photo: Annotated[Path, typer.Argument(help="A photo: JPEG, PNG, WebP, GIF or BMP.")],
    uri: UriOption = None,
    model: ModelOption = None,
    category: Annotated[list[str] | None, typer.Option(help="Root category; may be given several times.")] = None,
    price_min: Annotated[float | None, typer.Option(min=0)] = None,
    price_max: Annotated[float | None, typer.Option(min=0)] = None,
    location: Annotated[str, typer.Option(help="What the location begins with.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=200)] = 10,
) -> None:
    """Print the listings that look like a photo."""
    from catalog.errors import PhotoUnusable
    from catalog.photo_files.files import read_photo
    from catalog.store.filters import SearchFilter
    from embedding.photos import open_photo
    from marketlens.tables import hits_table
    from marketlens.terminal import out

    settings = load_settings(uri=uri, model=model)
    data = read_photo(str(photo), settings.ingest.max_photo_bytes)
    try:
        image = open_photo(data)
    except PhotoUnusable as error:
        raise PhotoUnusable(error.reason, f"{photo}: {error.message}") from error
    where = SearchFilter(tuple(category or ()), price_min=price_min, price_max=price_max, location=location)
    where.expression()  # a filter that cannot be asked for is said before the model is loaded
    embedder, photos = open_catalogue(settings, must_exist=True)
    with closing(photos):
        photos.require(embedder.fingerprint)
        hits = photos.reader.search(embedder.embed([image]), where, limit).hits
    out.print(hits_table(f"Listings like {photo.name}", hits) if hits else "No listing passes these filters.")


@app.command()
def insights(
    uri: UriOption = None,
    model: ModelOption = None,
    map_photos: Annotated[
        int | None, typer.Option(min=1, help="Most photos on the map; of more, an even sample. Default: the settings.")
    ] = None,
) -> None:
    """Look at the live collection as a whole: map, wrong categories, duplicates, outliers. For every night."""
    from marketlens.tables import insights_table
    from marketlens.terminal import out, progress

    settings = load_settings(uri=uri, model=model, insights={"map_photos": map_photos})
    with needs("insights"):
        from insights.run import run
    embedder, photos = open_catalogue(settings, must_exist=True)
    from catalog.photo_files.hosts import reader

    read = reader(settings.ingest.max_photo_bytes, settings.ingest.network_seconds)
    with closing(photos):
        summary, path = run(photos, embedder, settings.insights, read=read, progress=progress)
    out.print(insights_table(summary))
    out.print(f"Insights: {path}", soft_wrap=True)


@app.command()
def serve(
    uri: UriOption = None,
    model: ModelOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: the settings.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: the settings.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; several need a Milvus server.")] = None,
) -> None:
    """Run the search API; its documentation is at /docs."""
    from marketlens.processes import require_free_port
    from marketlens.serving import serve as run

    settings = load_settings(uri=uri, model=model, api={"host": host, "port": port, "workers": workers})
    require_free_port(settings.api.host, settings.api.port)
    run(settings, own_model=model is not None)


@app.command()
def dashboard(
    api_url: Annotated[str | None, typer.Option(help="Where the API is. Default: the settings.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: the settings.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: the settings.")] = None,
) -> None:
    """Run the Streamlit dashboard; it needs the API."""
    from marketlens.processes import dashboard_command, require_free_port

    settings = load_settings(dashboard={"host": host, "port": port, "api_url": api_url})
    require_free_port(settings.dashboard.host, settings.dashboard.port)
    os.environ["MARKETLENS_DASHBOARD__API_URL"] = settings.dashboard.api_url
    os.environ["MARKETLENS_DASHBOARD__PUBLIC_API_URL"] = settings.dashboard.public_api_url
    os.environ["MARKETLENS_DASHBOARD__API_KEY"] = settings.dashboard.api_key.get_secret_value()
    command = dashboard_command(settings.dashboard, settings.api.max_upload_bytes)
    os.execv(command[0], command)  # noqa: S606 - our own interpreter, no shell


@app.command()
def up(uri: UriOption = None, model: ModelOption = None) -> None:
    """Run API and dashboard together on this machine; Ctrl-C stops both."""
    from marketlens.processes import run_together

    raise typer.Exit(run_together(load_settings(uri=uri, model=model)))


@app.command()
def doctor(uri: UriOption = None, model: ModelOption = None) -> None:
    """Say what is missing or does not fit together, and how to mend it."""
    from marketlens.doctor import examine
    from marketlens.terminal import EXIT_SURROUNDINGS, out

    table, healthy = examine(load_settings(uri=uri, model=model))
    out.print(table)
    if not healthy:
        raise typer.Exit(EXIT_SURROUNDINGS)


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="Your own: export, manifest or folder of photos.")] = None,
    once: Annotated[bool, typer.Option("--once", help="End without API and dashboard.")] = False,
) -> None:
    """Ingest real product photos, search, draw a contact sheet, then run API and dashboard."""
    with needs("insights"):
        from marketlens.demo import run
    from marketlens.processes import require_dashboard, run_together

    if not once:
        require_dashboard()
    settings = run(load_settings(), data)
    if not once:
        raise typer.Exit(run_together(settings))


@app.command()
def prepare(
    export: ExportArgument,
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same splits.")] = 0,
) -> None:
    """Make a data set for training: clean table, category encoder, splits without leaks, report."""
    from catalog.exports.export import open_export
    from catalog.photo_files.hosts import reader

    settings = load_settings()
    rows = open_export(export)
    with needs("train"):
        from embedding.training import prepare
    from marketlens import terminal

    read = reader(settings.ingest.max_photo_bytes, settings.ingest.network_seconds)
    with terminal.progress("Preparing", rows.photos) as advance:
        report = prepare.prepare(rows, out, seed=seed, read=read, advance=advance)
    terminal.out.print(report.render())
    terminal.out.print(f"Data set: {out}", soft_wrap=True)


@app.command()
def train(
    prepared: Annotated[Path, typer.Argument(help="A folder that marketlens prepare made.")],
    out: Annotated[Path, typer.Option(help="The model folder to make.")],
    recipe: Annotated[
        Literal["listing", "seed"], typer.Option(help="seed is the student system's, a baseline.")
    ] = "listing",
    weights: WeightsOption = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    head_epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs of the head alone, on cached features: seconds each. Default: 10; seed: 30."),
    ] = None,
    epochs: Annotated[int, typer.Option(min=0, help="Epochs of all layers after those; 0 trains the head alone.")] = 8,
    batch_size: Annotated[int, typer.Option(min=4, help="Photos; a multiple of 4.")] = 64,
    photo_size: Annotated[int, typer.Option(min=32, help="Side of a training photo in pixels.")] = 160,
    learning_rate: Annotated[float, typer.Option(help="Of the trunk's top, at its peak.")] = 1.5e-4,
    head_learning_rate: Annotated[
        float | None, typer.Option(help="Of the head, at its peak. Default: 0.0005; seed: 0.01.")
    ] = None,
    patience: Annotated[int, typer.Option(min=1, help="Stop after so many epochs that were no better.")] = 6,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a killed run stopped.")] = False,
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


@app.command()
def retrain(
    twin: Annotated[Path, typer.Argument(help="A model folder that marketlens train made.")],
    prepared: Annotated[Path, typer.Argument(help="The data set that it was trained on.")],
    out: Annotated[Path, typer.Option(help="The model folder to make.")],
    weights: WeightsOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a killed run stopped.")] = False,
) -> None:
    """Train once more as a measured model was, on all splits: what is held back teaches as well, the figures stay."""
    from catalog.errors import ModelBroken
    from embedding.card import read_card

    card = read_card(twin)
    with needs("train"):
        from embedding.training.train import TrainingArguments
        from embedding.training.train import train as run
    from marketlens import terminal

    told = card.training.get("arguments", {})
    if "recipe" not in told or "twin" in told:
        raise ModelBroken(f"{twin} was not made by marketlens train.", hint="Train and measure a model first.")
    trained = run(
        prepared,
        out,
        TrainingArguments(**{name: told[name] for name in TrainingArguments.model_fields}),
        weights=weights,
        resume=resume,
        progress=terminal.progress,
        say=lambda line: terminal.out.print(line, soft_wrap=True),
        twin=card,
    )
    if trained is not None:
        terminal.out.print(f"Model {trained.fingerprint[:12]} in {out}; log in {out}.run", soft_wrap=True)


@app.command()
def evaluate(
    models: Annotated[list[str], typer.Argument(metavar="MODEL... EXPORT", help="Model folders, then an export.")],
    out: Annotated[Path, typer.Option(help="The folder to make.")] = Path("data/evaluation"),
) -> None:
    """Measure models side by side on listings that none of them was trained on."""
    from catalog.errors import InvalidSetting
    from catalog.exports.export import open_export
    from catalog.photo_files.hosts import reader

    *names, export = models
    if not names:
        raise InvalidSetting(
            "Two things are needed: a model folder and an export.", hint="marketlens evaluate MODEL EXPORT"
        )
    settings = load_settings()
    rows = open_export(export)
    with needs("train"):
        from embedding.evaluation.evaluate import evaluate as run
    from marketlens import terminal

    result = run(
        [Path(name) for name in names],
        rows,
        out,
        read=reader(settings.ingest.max_photo_bytes, settings.ingest.network_seconds),
        progress=terminal.progress,
    )
    terminal.out.print(result.render())
    terminal.out.print(f"Table and plots: {out}", soft_wrap=True)


@model_app.command("import")
def model_import(
    weights: WeightsOption = None,
    out: Annotated[Path, typer.Option(help="The model folder to make.")] = Path("models/imagenet-resnet50"),
) -> None:
    """Make a model folder from torchvision's ImageNet ResNet50, downloaded or from a file."""
    from embedding.model_import import import_model
    from marketlens import terminal

    card = import_model(out, weights)
    terminal.out.print(
        f"Model {card.fingerprint[:12]} in {out}: {card.parent}. Licence: {card.licence}.", soft_wrap=True
    )


@model_app.command("quantize")
def model_quantize(
    model: Annotated[Path, typer.Argument(help="A model folder.")],
    out: Annotated[Path, typer.Option(help="The model folder to make.")],
    calibrate: Annotated[
        str | None, typer.Option(metavar="EXPORT", help="Calculate in int8 as well: three times as fast on a CPU.")
    ] = None,
) -> None:
    """Make a model smaller or faster, for a little recall; marketlens evaluate says how little.

    Without --calibrate its weights are stored as int8, a quarter of float32. With it the network calculates in int8, by
    ranges that 256 photos of the export tell; weights stay as they are stored.
    """
    from embedding.quantization.quantize import quantize_arithmetic, quantize_model
    from marketlens import terminal

    if calibrate is None:
        card = quantize_model(model, out)
    else:
        from catalog.exports.export import open_export
        from catalog.photo_files.hosts import reader

        settings = load_settings()
        read = reader(settings.ingest.max_photo_bytes, settings.ingest.network_seconds)
        card, agreement = quantize_arithmetic(model, out, open_export(calibrate), read=read, progress=terminal.progress)
        terminal.out.print(
            f"Cosine to the same model in floats, on {agreement.photos} other photos: {agreement.mean:.4f} on average, "
            f"{agreement.lowest:.4f} at the lowest.",
            soft_wrap=True,
        )
    terminal.out.print(f"Model {card.fingerprint[:12]} in {out}.", soft_wrap=True)


@model_app.command("balance")
def model_balance(
    model: Annotated[Path, typer.Argument(help="A model folder that marketlens train or retrain made.")],
    prepared: Annotated[Path, typer.Argument(help="The data set that it was trained on.")],
    kind_share: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="More finds the same kind of thing, less the same item.")
    ],
    out: Annotated[Path, typer.Option(help="The model folder to make.")],
    twin: Annotated[Path | None, typer.Option(help="Of a retrained model: its twin, balanced before.")] = None,
) -> None:
    """Shift a model between "the same item" and "the same kind of thing", without training; measured anew."""
    with needs("train"):
        from embedding.training.balance import balance_model
    from marketlens import terminal
    from marketlens.tables import figures_table

    card = balance_model(model, prepared, kind_share, out, twin=twin, progress=terminal.progress)
    terminal.out.print(figures_table(card))
    terminal.out.print(f"Model {card.fingerprint[:12]} in {out}.", soft_wrap=True)

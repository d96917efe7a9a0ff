"""`marketlens model`: make model folders from weights or from other model folders."""

from pathlib import Path
from typing import Annotated

import typer

from catalog.extras import needs
from marketlens.options import WeightsOption, load_settings

app = typer.Typer(no_args_is_help=True, help="Model folders.")


@app.command("import")
def import_weights(
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


@app.command()
def quantize(
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


@app.command()
def balance(
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

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
    out: Annotated[Path, typer.Option(help="The model folder to create.")] = Path("models/imagenet-resnet50"),
) -> None:
    """Create a model folder from torchvision's ImageNet ResNet50, downloaded or from a file."""
    from embedding.model_import import import_model
    from marketlens import terminal

    card = import_model(out, weights)
    terminal.out.print(
        f"Model {card.fingerprint[:12]} in {out}: {card.parent}. Licence: {card.licence}.", soft_wrap=True
    )


@app.command()
def quantize(
    model: Annotated[Path, typer.Argument(help="A model folder.")],
    out: Annotated[Path, typer.Option(help="The model folder to create.")],
    calibrate: Annotated[
        str | None,
        typer.Option(metavar="EXPORT", help="Also compute in int8, calibrated on it: three times as fast on a CPU."),
    ] = None,
) -> None:
    """Make a model smaller or faster at the cost of a little recall; marketlens evaluate measures how little.

    Without --calibrate, the weights are stored as int8, a quarter of the size of float32. With it, the network computes
    in int8, within ranges measured on 256 photos of the export; the stored weights do not change.
    """
    from embedding.quantization.quantize import quantize_arithmetic, quantize_model
    from marketlens import terminal

    if calibrate is None:
        card = quantize_model(model, out)
    else:
        from catalog.exports.export import open_export
        from catalog.photo_files.hosts import make_reader

        settings = load_settings()
        read = make_reader(settings.ingest.max_photo_bytes, settings.ingest.network_seconds)
        card, agreement = quantize_arithmetic(model, out, open_export(calibrate), read=read, progress=terminal.progress)
        terminal.out.print(
            f"Cosine to the float model on {agreement.photos} other photos: mean {agreement.mean:.4f}, "
            f"minimum {agreement.lowest:.4f}.",
            soft_wrap=True,
        )
    terminal.out.print(f"Model {card.fingerprint[:12]} in {out}.", soft_wrap=True)


@app.command()
def balance(
    model: Annotated[Path, typer.Argument(help="A model folder that marketlens train or retrain made.")],
    prepared: Annotated[Path, typer.Argument(help="The data set that the model was trained on.")],
    kind_share: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="Higher finds the same kind of thing, lower the same item.")
    ],
    out: Annotated[Path, typer.Option(help="The model folder to create.")],
    twin: Annotated[Path | None, typer.Option(help="For a retrained model: its twin, already balanced.")] = None,
) -> None:
    """Shift a model between "the same item" and "the same kind of thing" without training, and measure it again."""
    with needs("train"):
        from embedding.training.balance import balance_model
    from marketlens import terminal
    from marketlens.tables import figures_table

    card = balance_model(model, prepared, kind_share, out, twin=twin, progress=terminal.progress)
    terminal.out.print(figures_table(card))
    terminal.out.print(f"Model {card.fingerprint[:12]} in {out}.", soft_wrap=True)

"""Options that several commands have, and functions that load the settings and open the store and the model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from catalog.settings import Settings
    from catalog.store.collection import Consistency, PhotoCollection
    from embedding.embedder import Embedder

# str, because Path turns s3://bucket into s3:/bucket.
EXPORT_HELP = "Export folder, .zip or .tar of one, or manifest (.csv, .parquet, .jsonl); http and s3 too."
ExportArgument = Annotated[str, typer.Argument(help=EXPORT_HELP)]
UriOption = Annotated[
    str | None,
    typer.Option("--uri", help="Milvus: a path ending in .db (embedded), or http://host:port. Default: the settings."),
]
ModelOption = Annotated[Path | None, typer.Option("--model", help="Model folder. Default: the settings.")]
WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", help="State dict of resnet50() in safetensors (or .xz), instead of a download."),
]


def load_settings(*, uri: str | None = None, model: Path | None = None, **groups: dict[str, Any]) -> "Settings":
    """Load the settings from the environment and `.env`; options of the command line override them.

    Raises InvalidSetting.
    """
    from pydantic import ValidationError

    from catalog.errors import InvalidSetting
    from catalog.settings import Settings

    groups |= {"milvus": {"uri": uri}, "model": {"path": model}}
    overrides = {
        name: {key: value for key, value in group.items() if value is not None} for name, group in groups.items()
    }
    try:
        # Pydantic merges the overrides into the groups that the environment fills.
        return Settings.model_validate(overrides)
    except ValidationError as error:
        names = ["__".join(str(part) for part in item["loc"]).upper() for item in error.errors()]
        messages = [item["msg"].removeprefix("Value error, ") for item in error.errors()]
        # No name: the environment or .env as a whole could not be read.
        lines = [
            f"{f'MARKETLENS_{name}' if name else 'The settings'}: {message}"
            for name, message in zip(names, messages, strict=True)
        ]
        raise InvalidSetting("; ".join(lines), hint="The settings are described in .env.example.") from error


def open_store(
    settings: "Settings", *, consistency: "Consistency" = "Bounded", must_exist: bool = False
) -> "PhotoCollection":
    """Open the store. Raises what connecting raises.

    `must_exist`: raise CollectionMissing for a missing embedded database instead of creating it.
    """
    from catalog.store.collection import PhotoCollection, no_catalogue
    from marketlens.terminal import FAISS_ADVICE, filter_stderr

    if settings.milvus.is_lite:
        if must_exist and not Path(settings.milvus.uri).exists():
            raise no_catalogue(settings.milvus.uri)
        filter_stderr(FAISS_ADVICE)
    return PhotoCollection.connect(settings.milvus, settings.index, consistency=consistency)


def open_catalogue(settings: "Settings", *, must_exist: bool = False) -> tuple["Embedder", "PhotoCollection"]:
    """Open the store and load the model. Raises what either raises."""
    from embedding.embedder import Embedder

    # The store first: it reports at once that it is in use or unreachable; the model takes seconds to load.
    photos = open_store(settings, must_exist=must_exist)
    try:
        return Embedder.load(settings.model.path), photos
    except BaseException:
        photos.close()
        raise

"""The `marketlens` command. Each command imports what it needs when it runs: Milvus and torch take seconds to load."""

import sys
from collections.abc import Callable

import typer

from marketlens.commands import backup, catalogue, index, ingest, keys, model, services, training

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Visual search for marketplaces: a photo finds the listings that look like it.",
)
# In the order of the help.
COMMANDS: tuple[Callable[..., None], ...] = (
    backup.backup,
    backup.restore,
    catalogue.embed,
    catalogue.search,
    catalogue.insights,
    services.serve,
    services.dashboard,
    services.up,
    services.doctor,
    services.demo,
    training.prepare,
    training.train,
    training.retrain,
    training.words,
    training.evaluate,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(ingest.app, name="ingest")
app.add_typer(model.app, name="model")
app.add_typer(index.app, name="index")
app.add_typer(keys.app, name="keys")


def main() -> None:
    """Run the command. A user's mistake or a lack of memory ends in a message instead of a traceback."""
    from catalog.errors import MarketlensError

    try:
        app()
    except Exception as error:
        from marketlens.terminal import fail, is_memory_short

        if isinstance(error, MarketlensError):
            sys.exit(fail(error))
        if is_memory_short(error):
            hint = "Provide more: embedding takes up to 2 GB. Run an ingest again, and it continues where it stopped."
            sys.exit(fail(MarketlensError(f"There is not enough memory: {error}", hint=hint)))
        raise

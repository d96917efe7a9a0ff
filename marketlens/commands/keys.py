"""`marketlens keys`: who may ask the API."""

from typing import Annotated, Literal

import typer

from marketlens.options import load_settings

app = typer.Typer(no_args_is_help=True, help="API keys.")

NameArgument = Annotated[str, typer.Argument(help="Whose it is: letters, digits, _, . and -.")]


@app.command()
def create(
    name: NameArgument,
    scope: Annotated[
        Literal["read", "write", "admin"], typer.Option(help="Each may do what those before it may.")
    ] = "read",
) -> None:
    """Make a key and print it, once: only its hash is kept."""
    from marketlens.terminal import out, say
    from search_api.auth.api_keys import create_key

    path = load_settings().api.keys
    token = create_key(path, name, scope)
    say(f"The key {name} ({scope}). It is not shown again; {path} has its hash.")
    out.print(token, soft_wrap=True, highlight=False)


@app.command("list")
def list_keys() -> None:
    """Show names, scopes and dates."""
    from rich.table import Table

    from marketlens.terminal import out
    from search_api.auth.api_keys import read_keys

    path = load_settings().api.keys
    table = Table(title=f"Keys in {path}")
    for heading in ("name", "scope", "created"):
        table.add_column(heading)
    for key in read_keys(path):
        table.add_row(key.name, key.scope, f"{key.created:%Y-%m-%d %H:%M} UTC")
    out.print(table)


@app.command("rotate-secret")
def rotate() -> None:
    """End every photo address that was handed out. Keys stay; services that run notice at once."""
    from marketlens.terminal import out
    from search_api.auth.api_keys import rotate_secret

    path = load_settings().api.keys
    rotate_secret(path)
    out.print(f"{path} has another secret: photo addresses made before are no longer good.", soft_wrap=True)


@app.command()
def revoke(name: NameArgument) -> None:
    """Take a key back. Services that run notice at once."""
    from marketlens.terminal import out
    from search_api.auth.api_keys import revoke_key

    path = load_settings().api.keys
    revoke_key(path, name)
    out.print(f"The key {name} is no longer good.")

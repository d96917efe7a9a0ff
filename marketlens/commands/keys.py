"""`marketlens keys`: API keys."""

from typing import Annotated, Literal

import typer

from marketlens.options import load_settings

app = typer.Typer(no_args_is_help=True, help="API keys.")

NameArgument = Annotated[str, typer.Argument(help="Name of the key: letters, digits, _, . and -.")]


@app.command()
def create(
    name: NameArgument,
    scope: Annotated[
        Literal["read", "write", "admin"], typer.Option(help="Each scope includes those before it.")
    ] = "read",
) -> None:
    """Create a key and print it once; only its hash is stored."""
    from marketlens.terminal import out, say
    from search_api.auth.api_keys import create_key

    path = load_settings().api.keys
    token = create_key(path, name, scope)
    say(f"Key {name} ({scope}). It is not shown again; {path} stores its hash.")
    out.print(token, soft_wrap=True, highlight=False)


@app.command("list")
def list_keys() -> None:
    """List names, scopes and dates."""
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
    """Invalidate all photo URLs issued so far; keys stay valid. Running services notice at once."""
    from marketlens.terminal import out
    from search_api.auth.api_keys import rotate_secret

    path = load_settings().api.keys
    rotate_secret(path)
    out.print(f"{path} has a new secret: photo URLs issued before are invalid.", soft_wrap=True)


@app.command()
def revoke(name: NameArgument) -> None:
    """Revoke a key. Running services notice at once."""
    from marketlens.terminal import out
    from search_api.auth.api_keys import revoke_key

    path = load_settings().api.keys
    revoke_key(path, name)
    out.print(f"Key {name} is revoked.")

"""`marketlens serve`, `dashboard`, `up`, `doctor` and `demo`: commands that run services or check them."""

import os
from pathlib import Path
from typing import Annotated

import typer

from catalog.extras import needs
from marketlens.options import ModelOption, UriOption, load_settings


def serve(
    uri: UriOption = None,
    model: ModelOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: the settings.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. Default: the settings.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of processes; more than one needs a Milvus server.")
    ] = None,
) -> None:
    """Run the search API; its documentation is at /docs."""
    from marketlens.processes import require_free_port
    from marketlens.serving import serve as run

    settings = load_settings(uri=uri, model=model, api={"host": host, "port": port, "workers": workers})
    require_free_port(settings.api.host, settings.api.port)
    run(settings, own_model=model is not None)


def dashboard(
    api_url: Annotated[str | None, typer.Option(help="URL of the API. Default: the settings.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: the settings.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. Default: the settings.")] = None,
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


def up(uri: UriOption = None, model: ModelOption = None) -> None:
    """Run API and dashboard together on this machine; Ctrl-C stops both."""
    from marketlens.processes import run_together

    raise typer.Exit(run_together(load_settings(uri=uri, model=model)))


def doctor(uri: UriOption = None, model: ModelOption = None) -> None:
    """Report what is missing or incompatible, and how to fix it."""
    from marketlens.doctor import examine
    from marketlens.terminal import EXIT_ENVIRONMENT, out

    table, healthy = examine(load_settings(uri=uri, model=model))
    out.print(table)
    if not healthy:
        raise typer.Exit(EXIT_ENVIRONMENT)


def demo(
    data: Annotated[Path | None, typer.Option(help="Your own export, manifest or folder of photos.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Exit without running API and dashboard.")] = False,
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

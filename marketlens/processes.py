"""Start API and dashboard as processes of this machine, and stop them together."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError

from catalog.errors import InvalidSetting
from catalog.extras import needs
from catalog.settings import DashboardSettings, Settings
from marketlens.terminal import EXIT_ENVIRONMENT, out, sigterm_as_interrupt

_STOP_SECONDS = 15.0


def require_free_port(host: str, port: int) -> None:
    """Raise InvalidSetting if the port is taken, or the address is not one of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As servers do, so that the port of a server that has just stopped counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InvalidSetting(
                f"Cannot listen on {host}:{port}: {error.strerror or error}.",
                hint="Stop what listens there, or choose another port with --port, MARKETLENS_API__PORT or "
                "MARKETLENS_DASHBOARD__PORT.",
            ) from error


def require_dashboard() -> None:
    """Raise InvalidSetting if Streamlit is not installed. It is not imported, because that takes seconds."""
    with needs("dashboard"):
        if importlib.util.find_spec("streamlit") is None:
            raise ModuleNotFoundError(name="streamlit")


def dashboard_command(settings: DashboardSettings, max_upload_bytes: int) -> list[str]:
    """Return the command that runs Streamlit. Raises InvalidSetting if it is not installed."""
    require_dashboard()
    import dashboard

    script = Path(dashboard.__file__).with_name("app.py")
    options = {
        "server.address": settings.host,
        "server.port": str(settings.port),
        "server.headless": "true",
        "server.maxUploadSize": str(max_upload_bytes // 1_000_000),
        "client.toolbarMode": "minimal",
        # Tracebacks belong in the log, which has them anyway.
        "client.showErrorDetails": "none",
        "browser.gatherUsageStats": "false",
        # Streamlit's default red has too little contrast, as text on white and as the background of text.
        "theme.light.primaryColor": "#1d5fa6",
        "theme.dark.primaryColor": "#7db4f5",
    }
    return [sys.executable, "-m", "streamlit", "run", str(script), *(f"--{k}={v}" for k, v in options.items())]


def run_together(settings: Settings) -> int:
    """Run API and dashboard until Ctrl-C, SIGTERM or the end of either. Return the exit status."""
    api, dashboard = settings.api, settings.dashboard
    require_free_port(api.host, api.port)
    require_free_port(dashboard.host, dashboard.port)
    run_dashboard = dashboard_command(dashboard, api.max_upload_bytes)
    own_url = f"http://{_url_host(api.host)}:{api.port}"
    # Browsers load photos from this URL too, so a URL in the settings takes precedence.
    api_url = dashboard.api_url if "api_url" in dashboard.model_fields_set else own_url
    dashboard_url = f"http://{_url_host(dashboard.host)}:{dashboard.port}"
    environment = os.environ | {
        "MARKETLENS_MILVUS__URI": settings.milvus.uri,
        "MARKETLENS_MODEL__PATH": str(settings.model.path),
        "MARKETLENS_DASHBOARD__API_URL": api_url,
        "MARKETLENS_DASHBOARD__PUBLIC_API_URL": dashboard.public_api_url,
        "MARKETLENS_DASHBOARD__API_KEY": dashboard.api_key.get_secret_value(),
    }
    children: list[subprocess.Popen[bytes]] = []
    with sigterm_as_interrupt(), suppress(KeyboardInterrupt), _stopped_on_exit(children):
        children.append(subprocess.Popen([sys.executable, "-m", "marketlens", "serve"], env=environment))
        if _wait_for(f"{own_url}/livez", children):
            children.append(subprocess.Popen(run_dashboard, env=environment))  # noqa: S603
            if _wait_for(f"{dashboard_url}/_stcore/health", children):
                out.print(f"\n  Dashboard  {dashboard_url}\n  API        {own_url}/docs\n\n  Ctrl-C stops both.\n")
        while all(child.poll() is None for child in children):
            time.sleep(0.2)
        name, status = next(
            (name, child.returncode)
            for name, child in zip(("API", "dashboard"), children, strict=False)
            if child.returncode is not None
        )
        how = f"signal {-status}" if status < 0 else f"status {status}"
        out.print(f"The {name} ended with {how}; stopping.")
        return EXIT_ENVIRONMENT if status < 0 else status
    out.print("Stopped.")
    return 0


def _url_host(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound


def _wait_for(url: str, children: list[subprocess.Popen[bytes]]) -> bool:
    """Wait until the URL responds; return False if a child ends first."""
    while all(child.poll() is None for child in children):
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own http address
                return True
        except (URLError, OSError):
            time.sleep(0.2)
    return False


@contextmanager
def _stopped_on_exit(children: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    try:
        yield
    finally:
        for child in reversed(children):
            child.terminate()
        for child in children:
            try:
                child.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

"""Run the API in this process, or in several processes that share a port."""

import os
import socket
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from catalog.errors import CollectionMissing, InvalidSetting, ModelMismatch
from catalog.settings import Settings
from marketlens.options import load_settings, open_catalogue
from marketlens.terminal import EXIT_ENVIRONMENT, out

if TYPE_CHECKING:
    from fastapi import FastAPI

    from catalog.store.collection import PhotoCollection
    from embedding.embedder import Embedder

# How long a stopping service waits for responses in progress.
_STOP_SECONDS = 20
# Longer than proxies and clients keep idle connections (a minute): if this side closes first, a request may be lost.
IDLE_SECONDS = 75
# A worker that starts on a busy machine answers late; one that is silent for longer than this is replaced.
_PONG_SECONDS = 20


def serve(settings: Settings, *, own_model: bool) -> None:
    """Serve until Ctrl-C or SIGTERM. `own_model`: the model was chosen for this run; no other model may be served.

    Raises InvalidSetting, and what opening the catalogue raises.
    """
    from catalog.verdicts import VerdictStore

    require_keys(settings)
    VerdictStore(settings.verdicts.url.get_secret_value()).close()  # reports an invalid URL before workers start
    if settings.api.workers > 1:
        _serve_in_workers(settings, own_model)
        return
    import uvicorn

    from search_api.app import create_app

    embedder, photos = open_catalogue(settings, must_exist=True)
    with closing(photos):
        if not_ready := check(settings, embedder, photos, own_model):
            out.print(not_ready, soft_wrap=True)
        uvicorn.run(create_app(settings, embedder, photos), **_options(settings))


def require_keys(settings: Settings) -> None:
    """Raise InvalidSetting if other machines could send requests without a key."""
    from search_api.auth.api_keys import is_public, read_keys

    api = settings.api
    if is_public(api.host) and not read_keys(api.keys):
        raise InvalidSetting(
            f"On {api.host} other machines can reach this service, but {api.keys} holds no API key.",
            hint="Create one first (marketlens keys create NAME), or listen on 127.0.0.1.",
        )


def check(settings: Settings, embedder: "Embedder", photos: "PhotoCollection", own_model: bool) -> str:
    """Return why the service is not ready yet, or "" if it is; it may become ready without a restart.

    Raises CollectionMissing, ModelMismatch.
    """
    try:
        photos.require(embedder.fingerprint)
    except CollectionMissing as error:
        if settings.milvus.is_lite:
            raise  # no other process can fill it while this one has it open
        return f"Not ready yet: {error.message} {error.hint}"
    except ModelMismatch:
        # Another build was promoted after the settings were written: the service loads that build's model.
        if own_model or not photos.info().model:
            raise
    return ""


def worker() -> "FastAPI":
    """Create one worker's application from the environment that `serve` set."""
    from search_api.app import create_app
    from search_api.telemetry.logging import configure

    settings = load_settings()
    configure(settings.api.log)
    embedder, photos = open_catalogue(settings)
    return create_app(settings, embedder, photos)


def _serve_in_workers(settings: Settings, own_model: bool) -> None:
    if settings.milvus.is_lite:
        raise InvalidSetting(
            f"{settings.api.workers} workers cannot share {settings.milvus.uri}: Milvus Lite belongs to one process.",
            hint="Run one worker, or a Milvus server and set --uri.",
        )
    # Pass the options of the command line to the workers.
    os.environ |= {
        "MARKETLENS_MILVUS__URI": settings.milvus.uri,
        "MARKETLENS_MODEL__PATH": str(settings.model.path),
        "MARKETLENS_API__HOST": settings.api.host,
        "MARKETLENS_API__PORT": str(settings.api.port),
        "MARKETLENS_API__WORKERS": str(settings.api.workers),
    }
    # In a process that ends right after: an error is reported once, before workers start, and this process, which only
    # supervises, keeps no model in memory.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        if not_ready := pool.submit(_check_once, settings, own_model).result():
            out.print(not_ready, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="marketlens-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        import uvicorn
        from uvicorn.config import STARTUP_FAILURE
        from uvicorn.supervisors import Multiprocess

        config = uvicorn.Config(
            "marketlens.serving:worker",
            factory=True,
            workers=settings.api.workers,
            timeout_worker_healthcheck=_PONG_SECONDS,
            **_options(settings),
        )
        listener = config.bind_socket()
        # asyncio sets this only for sockets that it opens itself. Without it, a response's body waits for the client's
        # acknowledgement of the head: 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        workers = Multiprocess(config, [listener])
        workers.run()
        if any(process.exitcode == STARTUP_FAILURE for process in workers.processes):
            raise SystemExit(EXIT_ENVIRONMENT)


def _check_once(settings: Settings, own_model: bool) -> str:
    embedder, photos = open_catalogue(settings)
    with closing(photos):
        return check(settings, embedder, photos, own_model)


def _options(settings: Settings) -> dict[str, Any]:
    from search_api.telemetry.logging import configure

    return {
        "host": settings.api.host,
        "port": settings.api.port,
        "log_config": configure(settings.api.log),
        "access_log": False,  # our own log has request id, stages and key, and no queries
        "server_header": False,
        "timeout_graceful_shutdown": _STOP_SECONDS,
        "timeout_keep_alive": IDLE_SECONDS,
    }

"""Writes a log line, metrics and a trace span for every request, and responds with 500 after an unexpected error."""

import time

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from search_api.errors import internal_error
from search_api.middleware.request_limits import ClientLeft
from search_api.telemetry import timing
from search_api.telemetry.metrics import Metrics
from search_api.telemetry.tracing import Tracing

# As in nginx: the client closed the connection before the response.
CLIENT_LEFT = 499
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

logger = structlog.stdlib.get_logger("marketlens.request")


class RequestLog:
    """ASGI middleware. Uses route templates, so that ids, queries and signatures stay out of logs and labels."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = timing.start_request()
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        with self._tracing.request(scope) as set_route_and_status:
            try:
                await self._app(scope, receive, send_and_note)
            except ClientLeft:
                status = CLIENT_LEFT
            except Exception as error:
                if status:
                    raise  # part of the response is sent: the server closes the connection
                await internal_error(Request(scope), error)(scope, receive, send_and_note)
            set_route_and_status(_route(scope), status)
        self._record(scope, status, request)

    def _record(self, scope: Scope, status: int, request: timing.RequestTime) -> None:
        seconds = time.perf_counter() - request.started
        method, route = scope["method"], _route(scope)
        self._metrics.requests.labels(method if method in _METHODS else "other", route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        for name, value in request.stages.items():
            self._metrics.stage_seconds.labels(name).observe(value)
        caller = scope.get("state", {}).get("caller")
        logger.info(
            "request",
            method=method,
            route=route,
            status=status,
            ms=round(1000 * seconds, 1),
            **{f"{name}_ms": round(1000 * value, 1) for name, value in request.stages.items()},
            **({"key": caller.name} if caller and caller.name else {}),
        )


def _route(scope: Scope) -> str:
    # All unknown paths share one name: otherwise an attacker could create a label with each request.
    return str(getattr(scope.get("route"), "path", "unknown"))

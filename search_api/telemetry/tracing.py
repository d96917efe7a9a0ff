"""OpenTelemetry spans for requests and their stages, if an OTLP endpoint is set. Needs the extra `otel`."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import Scope

from catalog.extras import needs
from search_api.telemetry import timing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

# OpenTelemetry's own variables; its other OTEL_… variables apply as well.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

SetRouteAndStatus = Callable[[str, int], None]


class Tracing:
    """Opens spans, or does nothing."""

    def __init__(self) -> None:
        """Raises InvalidSetting if an endpoint is set but the extra is not installed."""
        self._provider: TracerProvider | None = _provider() if any(map(os.environ.get, ENDPOINTS)) else None
        if self._provider:
            timing.span = self._provider.get_tracer("marketlens").start_as_current_span

    @contextmanager
    def request(self, scope: Scope) -> Iterator[SetRouteAndStatus]:
        """Open a request's span as a child of the caller's `traceparent`; yield a function that sets route and status.

        This replaces the middleware of OpenTelemetry, which records paths and queries, and so ids and signatures.
        """
        if not self._provider:
            yield lambda _route, _status: None
            return
        from opentelemetry import propagate  # noqa: PLC0415 - missing without the extra
        from opentelemetry.trace import SpanKind, StatusCode  # noqa: PLC0415

        method = scope["method"]
        parent = propagate.extract(Headers(scope=scope))
        tracer = self._provider.get_tracer("marketlens")
        with tracer.start_as_current_span(method, context=parent, kind=SpanKind.SERVER) as span:

            def set_route_and_status(route: str, status: int) -> None:
                span.update_name(f"{method} {route}")
                span.set_attributes(
                    {"http.request.method": method, "http.route": route, "http.response.status_code": status}
                )
                if status >= 500:
                    span.set_status(StatusCode.ERROR)

            yield set_route_and_status

    def close(self) -> None:
        """Send the remaining spans."""
        if self._provider:
            self._provider.shutdown()


def _provider() -> "TracerProvider":
    with needs("otel"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    attributes = {
        "service.name": os.environ.get("OTEL_SERVICE_NAME", "marketlens"),
        "service.version": version("marketlens"),
    }
    provider = TracerProvider(resource=Resource.create(attributes))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider

"""Prometheus metrics. With several workers they cover all of them."""

import os

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT_TYPE = CONTENT_TYPE_LATEST
# `marketlens serve --workers N` sets it before this module is imported: prometheus_client reads it on import.
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

# Resolves requests of a few milliseconds (a listing) as well as of seconds (the map).
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "marketlens_requests",
            "HTTP requests by method, route and status.",
            ("method", "route", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "marketlens_request_seconds",
            "Seconds from the request's headers to the end of the response.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "marketlens_stage_seconds",
            "Seconds in each stage of a request, including waiting.",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.waiting = Gauge(
            "marketlens_waiting_photos",
            "Photos waiting to be embedded.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.batch_photos = Histogram(
            "marketlens_batch_photos",
            "Photos per embedded batch.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=registry,
        )
        self.rejected = Counter(
            "marketlens_rejected_requests",
            "Rejected requests by reason.",
            ("reason",),
            registry=registry,
        )
        self.recall = Gauge(
            "marketlens_recall",
            "Share of the ten exact nearest photos that the live search finds.",
            ("category",),
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        # A gauge: prometheus_client's multiprocess mode has no Info metric.
        self.serving = Gauge(
            "marketlens_serving_info",
            "1 for the collection and model in use.",
            ("collection", "model"),
            registry=registry,
            multiprocess_mode="livemax",
        )

    def render(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self._all())

    def families(self) -> list[Metric]:
        """Return all metrics."""
        return list(self._all().collect())

    def _all(self) -> CollectorRegistry:
        if SHARED_FOLDER not in os.environ:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return registry

    def close(self) -> None:
        """Remove this process from the metrics that are summed over live processes."""
        if SHARED_FOLDER in os.environ:
            mark_process_dead(os.getpid())

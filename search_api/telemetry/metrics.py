"""What Prometheus is told. With several workers the figures are those of all of them."""

import os

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Set by `marketlens serve --workers N`, before this module is imported: prometheus_client looks at it then.
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

# Requests of a few milliseconds (a listing) and of seconds (the map) are both told apart.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter("marketlens_requests", "Answers.", ("method", "route", "status"), registry=registry)
        self.seconds = Histogram(
            "marketlens_request_seconds",
            "From the request's head to the end of the answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "marketlens_stage_seconds",
            "Time in each stage of an answer, waiting for it included.",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.waiting = Gauge(
            "marketlens_waiting_photos",
            "Photos that wait to be embedded.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.batch_photos = Histogram(
            "marketlens_batch_photos",
            "Photos embedded together.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=registry,
        )
        self.rejected = Counter(
            "marketlens_rejected_requests",
            "Requests that were turned away, by reason.",
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
            "1 for the collection and the model that answer.",
            ("collection", "model"),
            registry=registry,
            multiprocess_mode="livemax",
        )

    def render(self) -> bytes:
        """All figures in the format that Prometheus reads."""
        return generate_latest(self._all())

    def families(self) -> list[Metric]:
        """All figures."""
        return list(self._all().collect())

    def _all(self) -> CollectorRegistry:
        if SHARED_FOLDER not in os.environ:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return registry

    def close(self) -> None:
        """Take this process out of what is summed over those that live."""
        if SHARED_FOLDER in os.environ:
            mark_process_dead(os.getpid())

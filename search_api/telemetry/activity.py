"""The service's activity over the last hours: differences between regular readings of its metrics."""

import logging
import math
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prometheus_client import Metric

from search_api.schemas import ActivityPoint
from search_api.telemetry.metrics import Metrics

SECONDS = 10.0
_POINTS = 1_080  # three hours
# Load balancers and Prometheus request these all the time; no user waits for them.
_PROBES = {"/livez", "/readyz", "/metrics"}

logger = logging.getLogger("marketlens.api")


@dataclass(frozen=True, slots=True)
class Totals:
    """Metrics at one moment: responses by first digit of status, responses by upper time bound, time per stage."""

    responses: Counter[str] = field(default_factory=Counter)
    within: Counter[float] = field(default_factory=Counter)
    stage_seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    stage_counts: Counter[str] = field(default_factory=Counter)


def sum_metrics(families: Iterable[Metric]) -> Totals:
    """Sum the metrics over routes and methods, without probes."""
    totals = Totals()
    for sample in (sample for family in families for sample in family.samples):
        labels, value = sample.labels, sample.value
        if labels.get("route") in _PROBES:
            continue
        if sample.name == "marketlens_requests_total":
            totals.responses[labels["status"][0]] += int(value)
        elif sample.name == "marketlens_request_seconds_bucket":
            totals.within[float(labels["le"])] += int(value)
        elif sample.name == "marketlens_stage_seconds_sum":
            totals.stage_seconds[labels["stage"]] += value
        elif sample.name == "marketlens_stage_seconds_count":
            totals.stage_counts[labels["stage"]] += int(value)
    return totals


def activity_between(before: Totals, after: Totals, at: datetime) -> ActivityPoint:
    """Return the activity between two readings."""
    # Subtracting Counters drops negative counts, as after a process has ended.
    responses, stages = after.responses - before.responses, after.stage_counts - before.stage_counts
    within = {bound: max(count - before.within[bound], 0) for bound, count in after.within.items()}
    return ActivityPoint(
        at=at,
        requests=responses.total(),
        client_errors=responses["4"],
        server_errors=responses["5"],
        p50_ms=_ms(quantile(0.5, within)),
        p99_ms=_ms(quantile(0.99, within)),
        stage_ms={
            name: 1000 * (after.stage_seconds[name] - before.stage_seconds[name]) / count
            for name, count in stages.items()
        },
    )


def quantile(share: float, within: Mapping[float, int]) -> float | None:
    """Return the time within which this share of responses was sent, or None without responses.

    `within` maps each upper bound to the number of responses within it. Interpolates linearly within a bucket, as
    Prometheus' histogram_quantile does; beyond the last finite bound, returns that bound.
    """
    bounds = sorted(within)
    if not bounds or not within[bounds[-1]]:
        return None
    target = share * within[bounds[-1]]
    low, below = 0.0, 0
    for bound in bounds:
        count = within[bound]
        if count >= target and count > below:
            return low if math.isinf(bound) else low + (bound - low) * (target - below) / (count - below)
        low, below = bound, count
    return low


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


class Activity:
    """Reads the metrics of all workers every ten seconds, at the same moments in each worker. Thread-safe."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._previous: Totals | None = None
        self._points: deque[ActivityPoint] = deque(maxlen=_POINTS)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="activity", daemon=True)

    def start(self) -> None:
        """Start reading."""
        self.read(time.time())
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def points(self) -> list[ActivityPoint]:
        """Return the activity per interval, oldest first."""
        with self._lock:
            return list(self._points)

    def recall(self) -> dict[str, float]:
        """Return the last recall that the probe measured for each category."""
        families = (family for family in self._metrics.families() if family.name == "marketlens_recall")
        samples = (sample for family in families for sample in family.samples)
        return {sample.labels["category"]: sample.value for sample in samples if not math.isnan(sample.value)}

    def read(self, at: float) -> None:
        """Read the metrics once, at this Unix time."""
        now = sum_metrics(self._metrics.families())
        with self._lock:
            if self._previous is not None:
                self._points.append(activity_between(self._previous, now, datetime.fromtimestamp(at, UTC)))
            self._previous = now

    def _run(self) -> None:
        while not self._stop.wait(SECONDS - time.time() % SECONDS):
            try:
                self.read(round(time.time() / SECONDS) * SECONDS)
            except Exception:
                # The thread continues whatever the error is: a missing point in a chart must not end the others.
                logger.exception("Reading the service's own metrics failed.")

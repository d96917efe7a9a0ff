"""What the service did over the last hours: its own figures, read now and then, and told as differences."""

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
# Load balancers and Prometheus ask these all the time; nobody waits for the answers.
_PROBES = {"/livez", "/readyz", "/metrics"}

logger = logging.getLogger("marketlens.api")


@dataclass(frozen=True, slots=True)
class Totals:
    """The figures at one moment: answers by first digit of their status, times by upper bound, stages' times."""

    answers: Counter[str] = field(default_factory=Counter)
    within: Counter[float] = field(default_factory=Counter)
    stage_seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    stage_counts: Counter[str] = field(default_factory=Counter)


def totals(families: Iterable[Metric]) -> Totals:
    """Add up what Prometheus would be told."""
    found = Totals()
    for sample in (sample for family in families for sample in family.samples):
        labels, value = sample.labels, sample.value
        if labels.get("route") in _PROBES:
            continue
        if sample.name == "marketlens_requests_total":
            found.answers[labels["status"][0]] += int(value)
        elif sample.name == "marketlens_request_seconds_bucket":
            found.within[float(labels["le"])] += int(value)
        elif sample.name == "marketlens_stage_seconds_sum":
            found.stage_seconds[labels["stage"]] += value
        elif sample.name == "marketlens_stage_seconds_count":
            found.stage_counts[labels["stage"]] += int(value)
    return found


def between(before: Totals, after: Totals, at: datetime) -> ActivityPoint:
    """What happened between two moments."""
    # Counter's own difference: what is gone, with a process perhaps, counts as nothing.
    answers, stages = after.answers - before.answers, after.stage_counts - before.stage_counts
    within = {bound: max(count - before.within[bound], 0) for bound, count in after.within.items()}
    return ActivityPoint(
        at=at,
        requests=answers.total(),
        client_errors=answers["4"],
        server_errors=answers["5"],
        p50_ms=_ms(quantile(0.5, within)),
        p99_ms=_ms(quantile(0.99, within)),
        stage_ms={
            name: 1000 * (after.stage_seconds[name] - before.stage_seconds[name]) / count
            for name, count in stages.items()
        },
    )


def quantile(share: float, within: Mapping[float, int]) -> float | None:
    """The time within which this share of answers came, from how many came within each bound; None without any.

    Even within a bucket, as Prometheus' histogram_quantile has it; beyond the last finite bound, that bound.
    """
    bounds = sorted(within)
    if not bounds or not within[bounds[-1]]:
        return None
    wanted = share * within[bounds[-1]]
    low, below = 0.0, 0
    for bound in bounds:
        count = within[bound]
        if count >= wanted and count > below:
            return low if math.isinf(bound) else low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return low


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


class Activity:
    """Reads the figures of all workers every ten seconds, at the same moments in each of them. Safe for threads."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._before: Totals | None = None
        self._ring: deque[ActivityPoint] = deque(maxlen=_POINTS)
        self._reading = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="activity", daemon=True)

    def start(self) -> None:
        """Read from here on."""
        self.read(time.time())
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def points(self) -> list[ActivityPoint]:
        """What happened, oldest first."""
        with self._reading:
            return list(self._ring)

    def recall(self) -> dict[str, float]:
        """The recall probe's last figure of each category."""
        families = (family for family in self._metrics.families() if family.name == "marketlens_recall")
        samples = (sample for family in families for sample in family.samples)
        return {one.labels["category"]: one.value for one in samples if not math.isnan(one.value)}

    def read(self, at: float) -> None:
        """Read the figures once, at this Unix time."""
        now = totals(self._metrics.families())
        with self._reading:
            if self._before is not None:
                self._ring.append(between(self._before, now, datetime.fromtimestamp(at, UTC)))
            self._before = now

    def _run(self) -> None:
        while not self._stop.wait(SECONDS - time.time() % SECONDS):
            try:
                self.read(round(time.time() / SECONDS) * SECONDS)
            except Exception:
                logger.exception("reading the service's own figures failed")

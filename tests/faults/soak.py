"""A soak: everything that a day brings, for an hour, and what it does to the service's memory, files and answers.

    .venv/bin/python -m tests.faults.soak [--minutes 60] [--export ../shared/listings] [--photos 1000] [--note TEXT]

`marketlens serve` with the shipped model on a Milvus server, both processes of their own. Against it, all the time:
searches by uploaded photo, by id with filters and pages, in batches; listings put, found, deleted; an ingest every few
minutes, which changes prices and photos. A wrong answer counts as an error.
"""

import argparse
import csv
import json
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from scipy import stats

from catalog.exports.export import open_export
from catalog.listing import Photo
from tests.faults.reliability import DOCS, record_soak
from tests.support.browser import process
from tests.support.commands import COMMAND, marketlens
from tests.support.environment import forget_settings
from tests.support.milvus_server import free_ports, running_server
from tests.support.paths import LISTINGS, MODEL

forget_settings()
SAMPLE_SECONDS = 5.0
INGEST_SECONDS = 120.0
BLOCKS = 10
# Photos whose files an ingest swaps; searches by upload leave them alone.
SWAPPED = 20
HEADER = ("photo_id", "listing_id", "title", "category", "price", "currency", "location", "photo")


class Load:
    """What the clients did: time and milliseconds of each answer, outcomes by name, and errors with their words."""

    def __init__(self, url: str, rows: list[Photo]) -> None:
        self.rows = rows
        self.stop = threading.Event()
        self.answers: list[tuple[float, float]] = []
        self.outcomes: Counter[str] = Counter()
        self.errors: list[str] = []
        self._http = httpx.Client(base_url=url, timeout=60)

    def forever(self, work: Callable[[random.Random, int], None], every: float) -> threading.Thread:
        """Do this again and again, begun so many seconds apart, until it is stopped."""

        def run() -> None:
            chance, turn = random.Random(work.__name__), 0  # noqa: S311 - the same load each time
            while not self.stop.wait(every * chance.random() * 2):
                try:
                    work(chance, turn)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is counted, and the load goes on
                    self.errors.append(f"{work.__name__}: {error!r}"[:300])
                turn += 1

        thread = threading.Thread(target=run, name=work.__name__)
        thread.start()
        return thread

    def ask(self, name: str, method: str, path: str, *, allowed: Sequence[int] = (200,), **body: Any) -> httpx.Response:
        """One request, timed and counted. Raises AssertionError for another status."""
        started = time.monotonic()
        answer = self._http.request(method, path, **body)
        self.answers.append((started, 1000 * (time.monotonic() - started)))
        self.outcomes[f"{name} {answer.status_code}"] += 1
        assert answer.status_code in allowed, answer.text
        return answer

    def by_upload(self, chance: random.Random, _: int) -> None:
        """A listed photo finds its listing."""
        row = chance.choice(self.rows[SWAPPED:])
        files = {"photo": ("p.jpg", Path(row.uri).read_bytes(), "image/jpeg")}
        hits = self.ask("upload", "POST", "/v1/search", files=files).json()["hits"]
        assert hits[0]["score"] > 0.99, f"{row.photo_id} does not find itself: {hits[0]['score']}"

    def by_id(self, chance: random.Random, _: int) -> None:
        """More like a listed photo, within a price and a category, two pages of it."""
        row = chance.choice(self.rows)
        where = {"categories": [row.listing.category]} if chance.random() < 0.5 else {"price_max": 100}
        ask: dict[str, Any] = {"photo_id": row.photo_id, "filter": where, "limit": 20, "facets": chance.random() < 0.3}
        first = self.ask("id", "POST", "/v1/search", json=ask).json()
        if first["cursor"]:
            second = self.ask("page 2", "POST", "/v1/search", json=ask | {"cursor": first["cursor"]}).json()
            shown = [hit["listing_id"] for hit in first["hits"] + second["hits"]]
            assert len(shown) == len(set(shown)), "a listing was shown twice"

    def in_a_batch(self, chance: random.Random, _: int) -> None:
        """Sixteen at once."""
        searches = [{"photo_id": row.photo_id, "limit": 10} for row in chance.sample(self.rows, 16)]
        answers = self.ask("batch", "POST", "/v1/search/batch", json={"searches": searches}).json()["answers"]
        assert all(one["answer"] for one in answers), answers

    def a_listing_comes_and_goes(self, chance: random.Random, turn: int) -> None:
        """Put, found, deleted. While an ingest runs a change may be refused, which the answer says."""
        identity, data = f"soak-{turn}", Path(chance.choice(self.rows).uri).read_bytes()
        path, files = f"/v1/listings/{identity}", {"photo": ("p.jpg", data)}
        listing = json.dumps({"title": "Soak", "photos": [{"photo_id": identity, "upload": 0}]})
        put = self.ask("put", "PUT", path, allowed=(201, 409), files=files, data={"listing": listing})
        if put.status_code == 409:
            assert put.json()["code"] == "ingest_running", put.text
            return
        time.sleep(2)  # a server's searches are a second behind its writes
        found = self.ask("own", "POST", "/v1/search", files=files, data={"request": '{"limit": 50}'}).json()
        assert identity in {hit["listing_id"] for hit in found["hits"]}, "what was put is not found"
        while self.ask("delete", "DELETE", path, allowed=(200, 409)).status_code == 409:
            time.sleep(2)


def main() -> None:
    """Fill, load, sample, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--export", default=str(LISTINGS))
    parser.add_argument("--photos", type=int, default=1_000)
    parser.add_argument("--note", default="", help="what else the machine did, for the page")
    arguments = parser.parse_args()
    rows = [row for row in open_export(arguments.export).rows() if isinstance(row, Photo)][: arguments.photos]
    with tempfile.TemporaryDirectory() as name, running_server(Path(name)) as uri:
        folder = Path(name)
        rows = copied(rows, folder)
        environment = {"MARKETLENS_MILVUS__URI": uri, "MARKETLENS_MODEL__PATH": str(MODEL)}
        ingest(folder, rows, environment, 0)
        port = free_ports(1)[0]
        url = f"http://127.0.0.1:{port}"
        with process([COMMAND, "serve", "--port", port], folder, f"{url}/readyz", **environment):
            service = next(one for one in psutil.Process().children() if str(port) in one.cmdline())
            load = Load(url, rows)

            def an_ingest(_: random.Random, turn: int) -> None:
                load.outcomes["ingest"] += 1
                ingest(folder, rows, environment, turn + 1)

            started = time.monotonic()
            threads = [
                load.forever(load.by_upload, 0.4),
                load.forever(load.by_id, 0.4),
                load.forever(load.in_a_batch, 4),
                load.forever(load.a_listing_comes_and_goes, 3),
                load.forever(an_ingest, INGEST_SECONDS),
            ]
            samples = []
            try:
                while time.monotonic() - started < 60 * arguments.minutes:
                    time.sleep(SAMPLE_SECONDS)
                    samples.append((time.monotonic() - started, *measured(service)))
            finally:
                load.stop.set()
                for thread in threads:
                    thread.join()
    answers = [(at - started, ms) for at, ms in load.answers]
    result = judged(samples, answers, load)
    print(json.dumps(result | {"errors": load.errors[:20]}, indent=1))
    plot(samples, answers)
    record_soak(result | {"photos": len(rows), "note": arguments.note})


def measured(service: psutil.Process) -> tuple[int, int, int]:
    """Bytes of memory, open files, threads."""
    with service.oneshot():
        return service.memory_info().rss, service.num_fds(), service.num_threads()


def copied(rows: Sequence[Photo], folder: Path) -> list[Photo]:
    """The photos as files below a folder: a manifest's photos lie beside it."""
    (folder / "images").mkdir()
    paths = [folder / "images" / f"{row.photo_id}.jpg" for row in rows]
    return [replace(row, uri=str(shutil.copyfile(row.uri, path))) for row, path in zip(rows, paths, strict=True)]


def ingest(folder: Path, rows: list[Photo], environment: dict[str, str], turn: int) -> None:
    """Ingest a manifest: in each turn a tenth has other prices, and a few photos have another one's file."""
    path = folder / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number, row in enumerate(rows):
            listing = row.listing
            price = (listing.price or 0) + (turn if number % 10 == turn % 10 else 0)
            uri = rows[(number + turn) % SWAPPED].uri if number < SWAPPED else row.uri
            texts = (listing.title, listing.category, price, listing.currency, listing.location)
            writer.writerow((row.photo_id, listing.listing_id, *texts, uri))
    done = marketlens("ingest", path, cwd=folder, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((folder / "data" / "report.json").read_text())
    assert report["read"] == report["written"] + report["unchanged"] == len(rows), report


def judged(samples: list[tuple[float, ...]], answers: list[tuple[float, float]], load: Load) -> dict[str, Any]:
    """The figures: slopes with their 95 % intervals over block means, first and last third of the answers."""
    times, memory, files, threads = np.array(samples).T
    warm = times > times[-1] / 5  # the first fifth fills caches
    slope, half = trend(times[warm] / 3600, memory[warm] / 1e6)
    took = np.array(answers)
    parts = np.array_split(took[took[:, 0] > times[-1] / 10, 1], 3)
    return {
        "minutes": round(times[-1] / 60, 1),
        "answers": len(answers),
        "outcomes": dict(sorted(load.outcomes.items())),
        "error_count": len(load.errors),
        "memory_mb": [round(value / 1e6) for value in (memory[warm][0], memory.max(), memory[-1])],
        "memory_slope_mb_per_hour": [round(slope, 1), round(half, 1)],
        "files": [int(files[warm].min()), int(files.max()), int(files[-1])],
        "threads": [int(threads[warm].min()), int(threads.max()), int(threads[-1])],
        "p50_ms": [round(float(np.percentile(part, 50)), 1) for part in parts],
        "p99_ms": [round(float(np.percentile(part, 99)), 1) for part in parts],
    }


def trend(hours: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Slope per hour and the half of its 95 % interval, over means of blocks: samples near in time are alike."""
    x = [statistics.fmean(part) for part in np.array_split(hours, BLOCKS)]
    y = [statistics.fmean(part) for part in np.array_split(values, BLOCKS)]
    fit = stats.linregress(x, y)
    return float(fit.slope), float(stats.t.ppf(0.975, BLOCKS - 2) * fit.stderr)


def plot(samples: list[tuple[float, ...]], answers: list[tuple[float, float]]) -> None:
    """Draw memory, open files and threads, and the answers' p99 of each minute, over time."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    times, memory, files, threads = np.array(samples).T
    took = np.array(answers)
    minutes = range(int(times[-1] // 60))
    in_minute = [took[took[:, 0] // 60 == minute, 1] for minute in minutes]
    figure, (top, middle, bottom) = plt.subplots(3, 1, sharex=True, figsize=(8, 6))
    top.plot(times / 60, memory / 1e6)
    top.set(ylabel="RSS, MB", ylim=(0, 1.1 * memory.max() / 1e6))
    middle.plot(times / 60, files, label="open files")
    middle.plot(times / 60, threads, label="threads")
    middle.set(ylim=(0, 1.1 * max(files.max(), threads.max())))
    middle.legend()
    for share in (50, 99):
        bottom.plot([m + 0.5 for m in minutes], [np.percentile(one, share) for one in in_minute], label=f"p{share}")
    bottom.set(xlabel="minutes", ylabel="ms", yscale="log")
    bottom.legend()
    figure.tight_layout()
    figure.savefig(DOCS / "images" / "soak.png", dpi=90)


if __name__ == "__main__":
    main()

"""A soak test: a mixed daily workload for an hour, and its effect on the service's memory, files and answers.

    .venv/bin/python -m tests.faults.soak [--minutes 60] [--export ../shared/listings] [--photos 1000] [--note TEXT]

`marketlens serve` runs with the shipped model on a Milvus server, each in its own process. Clients continuously search
by uploaded photo, by id with filters and pages, and in batches; they put, find and delete listings; and every few
minutes an ingest changes prices and photos. A wrong answer counts as an error.
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
from tests.support.commands import COMMAND, marketlens
from tests.support.dashboard.browser import process
from tests.support.environment import forget_settings
from tests.support.paths import LISTINGS, MODEL
from tests.support.servers.milvus_server import free_ports, running_server

forget_settings()
SAMPLE_SECONDS = 5.0
INGEST_SECONDS = 120.0
BLOCKS = 10
# The number of photos whose files an ingest swaps; searches by upload do not use them.
SWAPPED = 20
HEADER = ("photo_id", "listing_id", "title", "category", "price", "currency", "location", "photo")


class Load:
    """The clients and their results: time and milliseconds of each answer, outcomes by name, and error texts."""

    def __init__(self, url: str, rows: list[Photo]) -> None:
        self.rows = rows
        self.stop = threading.Event()
        self.answers: list[tuple[float, float]] = []
        self.outcomes: Counter[str] = Counter()
        self.errors: list[str] = []
        self._http = httpx.Client(base_url=url, timeout=60)

    def repeat(self, work: Callable[[random.Random, int], None], every: float) -> threading.Thread:
        """Repeat the work in a thread, on average every `every` seconds, until `stop` is set."""

        def run() -> None:
            chance, turn = random.Random(work.__name__), 0  # noqa: S311 - the same load each time
            while not self.stop.wait(every * chance.random() * 2):
                try:
                    work(chance, turn)
                except Exception as error:  # noqa: BLE001 - count every error, and continue
                    self.errors.append(f"{work.__name__}: {error!r}"[:300])
                turn += 1

        thread = threading.Thread(target=run, name=work.__name__)
        thread.start()
        return thread

    def send(
        self, name: str, method: str, path: str, *, allowed: Sequence[int] = (200,), **body: Any
    ) -> httpx.Response:
        """Send one request; time and count it. Raises AssertionError for any other status."""
        started = time.monotonic()
        answer = self._http.request(method, path, **body)
        self.answers.append((started, 1000 * (time.monotonic() - started)))
        self.outcomes[f"{name} {answer.status_code}"] += 1
        assert answer.status_code in allowed, answer.text
        return answer

    def search_by_upload(self, chance: random.Random, _: int) -> None:
        """Search by a listed photo, which must find its listing."""
        row = chance.choice(self.rows[SWAPPED:])
        files = {"photo": ("p.jpg", Path(row.uri).read_bytes(), "image/jpeg")}
        hits = self.send("upload", "POST", "/v1/search", files=files).json()["hits"]
        assert hits[0]["score"] > 0.99, f"{row.photo_id} does not find itself: {hits[0]['score']}"

    def search_by_id(self, chance: random.Random, _: int) -> None:
        """Search by a photo's id with a filter, and fetch two pages."""
        row = chance.choice(self.rows)
        where = {"categories": [row.listing.category]} if chance.random() < 0.5 else {"price_max": 100}
        request: dict[str, Any] = {
            "photo_id": row.photo_id,
            "filter": where,
            "limit": 20,
            "facets": chance.random() < 0.3,
        }
        first = self.send("id", "POST", "/v1/search", json=request).json()
        if first["cursor"]:
            second = self.send("page 2", "POST", "/v1/search", json=request | {"cursor": first["cursor"]}).json()
            listing_ids = [hit["listing_id"] for hit in first["hits"] + second["hits"]]
            assert len(listing_ids) == len(set(listing_ids)), "a listing appears on both pages"

    def search_in_a_batch(self, chance: random.Random, _: int) -> None:
        """Send sixteen searches in one request."""
        searches = [{"photo_id": row.photo_id, "limit": 10} for row in chance.sample(self.rows, 16)]
        answers = self.send("batch", "POST", "/v1/search/batch", json={"searches": searches}).json()["answers"]
        assert all(answer["answer"] for answer in answers), answers

    def change_a_listing(self, chance: random.Random, turn: int) -> None:
        """Put, find and delete a listing. While an ingest runs, changes may be refused with 409."""
        identity, data = f"soak-{turn}", Path(chance.choice(self.rows).uri).read_bytes()
        path, files = f"/v1/listings/{identity}", {"photo": ("p.jpg", data)}
        listing = json.dumps({"title": "Soak", "photos": [{"photo_id": identity, "upload": 0}]})
        put = self.send("put", "PUT", path, allowed=(201, 409), files=files, data={"listing": listing})
        if put.status_code == 409:
            assert put.json()["code"] == "ingest_running", put.text
            return
        time.sleep(2)  # a server's searches are a second behind its writes
        found = self.send("own", "POST", "/v1/search", files=files, data={"request": '{"limit": 50}'}).json()
        assert identity in {hit["listing_id"] for hit in found["hits"]}, "the listing that was put is not found"
        while self.send("delete", "DELETE", path, allowed=(200, 409)).status_code == 409:
            time.sleep(2)


def main() -> None:
    """Fill the catalogue, run the clients, sample the service, and record the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--export", default=str(LISTINGS))
    parser.add_argument("--photos", type=int, default=1_000)
    parser.add_argument("--note", default="", help="a remark for the page, such as other load on the machine")
    arguments = parser.parse_args()
    rows = [row for row in open_export(arguments.export).rows() if isinstance(row, Photo)][: arguments.photos]
    with tempfile.TemporaryDirectory() as name, running_server(Path(name)) as uri:
        folder = Path(name)
        rows = copy_photos(rows, folder)
        environment = {"MARKETLENS_MILVUS__URI": uri, "MARKETLENS_MODEL__PATH": str(MODEL)}
        ingest(folder, rows, environment, 0)
        port = free_ports(1)[0]
        url = f"http://127.0.0.1:{port}"
        with process([COMMAND, "serve", "--port", port], folder, f"{url}/readyz", **environment):
            service = next(child for child in psutil.Process().children() if str(port) in child.cmdline())
            load = Load(url, rows)

            def run_ingest(_: random.Random, turn: int) -> None:
                load.outcomes["ingest"] += 1
                ingest(folder, rows, environment, turn + 1)

            started = time.monotonic()
            threads = [
                load.repeat(load.search_by_upload, 0.4),
                load.repeat(load.search_by_id, 0.4),
                load.repeat(load.search_in_a_batch, 4),
                load.repeat(load.change_a_listing, 3),
                load.repeat(run_ingest, INGEST_SECONDS),
            ]
            samples = []
            try:
                while time.monotonic() - started < 60 * arguments.minutes:
                    time.sleep(SAMPLE_SECONDS)
                    samples.append((time.monotonic() - started, *sample(service)))
            finally:
                load.stop.set()
                for thread in threads:
                    thread.join()
    answers = [(at - started, ms) for at, ms in load.answers]
    result = summarize(samples, answers, load)
    print(json.dumps(result | {"errors": load.errors[:20]}, indent=1))
    plot(samples, answers)
    record_soak(result | {"photos": len(rows), "note": arguments.note})


def sample(service: psutil.Process) -> tuple[int, int, int]:
    """Return the service's bytes of memory, open files and threads."""
    with service.oneshot():
        return service.memory_info().rss, service.num_fds(), service.num_threads()


def copy_photos(rows: Sequence[Photo], folder: Path) -> list[Photo]:
    """Copy the photos' files below a folder, because a manifest's photos must be beside it."""
    (folder / "images").mkdir()
    paths = [folder / "images" / f"{row.photo_id}.jpg" for row in rows]
    return [replace(row, uri=str(shutil.copyfile(row.uri, path))) for row, path in zip(rows, paths, strict=True)]


def ingest(folder: Path, rows: list[Photo], environment: dict[str, str], turn: int) -> None:
    """Ingest a manifest; each turn changes the prices of a tenth, and swaps the files of a few photos."""
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


def summarize(samples: list[tuple[float, ...]], answers: list[tuple[float, float]], load: Load) -> dict[str, Any]:
    """Return the figures: the memory's growth with its 95 % interval, extremes, and percentiles of each third."""
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
    """Return the slope per hour and half of its 95 % interval, from block means, as adjacent samples are correlated."""
    x = [statistics.fmean(part) for part in np.array_split(hours, BLOCKS)]
    y = [statistics.fmean(part) for part in np.array_split(values, BLOCKS)]
    fit = stats.linregress(x, y)
    return float(fit.slope), float(stats.t.ppf(0.975, BLOCKS - 2) * fit.stderr)


def plot(samples: list[tuple[float, ...]], answers: list[tuple[float, float]]) -> None:
    """Plot memory, open files, threads, and the p50 and p99 of the answers per minute, over time."""
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
        bottom.plot([m + 0.5 for m in minutes], [np.percentile(part, share) for part in in_minute], label=f"p{share}")
    bottom.set(xlabel="minutes", ylabel="ms", yscale="log")
    bottom.legend()
    figure.tight_layout()
    figure.savefig(DOCS / "images" / "soak.png", dpi=90)


if __name__ == "__main__":
    main()

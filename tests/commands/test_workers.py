"""Several processes behind one port, as `marketlens serve --workers` starts them, on a real Milvus server."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.commands import COMMAND, marketlens
from tests.support.data.exports import write_export
from tests.support.data.pictures import jpeg, picture
from tests.support.servers.milvus_server import free_ports

START_SECONDS = 300
ALIAS = {"MARKETLENS_MILVUS__ALIAS": "workers"}


@dataclass
class Served:
    """A service with two workers."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def get(self, path: str) -> httpx.Response:
        """Send a request over a new connection."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=60)

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes, without their helpers."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture
def served(tmp_path: Path, milvus_server: str, random_model: Path) -> Iterator[Served]:
    """A service with two ready workers; stopped afterwards unless the test stopped it."""
    write_export(tmp_path / "export", 6)
    options = ("--model", random_model, "--uri", milvus_server)
    ingested = marketlens("ingest", tmp_path / "export", *options, cwd=tmp_path, **ALIAS)
    assert ingested.returncode == 0, ingested.stderr
    port, path = free_ports(1)[0], tmp_path / "log.jsonl"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [COMMAND, "serve", "--workers", "2", "--port", str(port), *options],
            cwd=tmp_path,
            env=os.environ | ALIAS,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    deadline = time.monotonic() + START_SECONDS
    while path.read_text().count("Application startup complete") < 2:
        assert process.poll() is None, path.read_text()[-3000:]
        assert time.monotonic() < deadline, path.read_text()[-3000:]
        time.sleep(0.2)
    yield Served(process, port, path)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


def count_requests(served: Served) -> int:
    """Return the number of requests that one of the workers reports."""
    return sum(point["requests"] for point in served.get("/v1/activity").json()["points"])


def measure_seconds(served: Served, open_client: httpx.Client | None = None) -> float:
    """Measure the time of a response, over an open connection or over a new one."""
    with nullcontext(open_client) if open_client else httpx.Client() as client:
        started = time.perf_counter()
        client.get(f"http://127.0.0.1:{served.port}/livez")
        return time.perf_counter() - started


@pytest.mark.slow
def test_workers(served: Served) -> None:
    """Both respond; metrics cover both; a worker that dies is replaced; SIGTERM leaves no process behind."""
    assert served.get("/readyz").json()["photos"] == 12
    url = f"http://127.0.0.1:{served.port}/v1/search"
    for seed in range(12):
        assert httpx.post(url, files={"photo": ("p", jpeg(picture(seed % 6)))}, timeout=60).status_code == 200
    folder = Path(served.workers()[0].environ()["PROMETHEUS_MULTIPROC_DIR"])
    for _ in range(30):
        served.get("/livez")
        if len(list(folder.glob("counter_*.db"))) == 2:
            break
    assert len(list(folder.glob("counter_*.db"))) == 2, "one worker handles all requests"
    metric = 'marketlens_requests_total{method="POST",route="/v1/search",status="200"} 12.0'
    assert all(metric in served.get("/metrics").text for _ in range(6))

    deadline = time.monotonic() + START_SECONDS
    while not all(count_requests(served) >= 12 for _ in range(6)):  # both refresh their figures every ten seconds
        assert time.monotonic() < deadline
        time.sleep(0.5)

    # If responses waited for an ACK, only the first ones of a connection would not.
    with httpx.Client() as open_client:
        pairs = [(measure_seconds(served, open_client), measure_seconds(served)) for _ in range(20)]
    on_open, on_new = (sorted(times)[5] for times in zip(*pairs, strict=True))
    assert on_open < 2 * on_new

    assert len(served.workers()) == 2
    served.workers()[0].kill()
    deadline = time.monotonic() + START_SECONDS
    while served.log.read_text().count("Application startup complete") < 3:
        assert served.get("/livez").status_code == 200
        assert time.monotonic() < deadline
        time.sleep(0.2)

    workers = served.workers()
    assert len(workers) == 2
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(40) == 0
    assert psutil.wait_procs(workers, 10)[1] == []
    assert not folder.exists()
    lines = [json.loads(line) for line in served.log.read_text().splitlines() if line.startswith("{")]
    assert sum(line["event"] == "request" and line.get("route") == "/v1/search" for line in lines) == 12


def test_lite_belongs_to_one_process(tmp_path: Path, random_model: Path) -> None:
    """Several workers on the embedded database are refused, with a hint."""
    result = marketlens("serve", "--workers", "2", "--uri", "m.db", "--model", random_model, cwd=tmp_path)
    assert result.returncode == 2
    assert "one process" in result.stderr
    assert "Milvus server" in result.stderr


def test_an_error_is_reported_once(tmp_path: Path, random_model: Path) -> None:
    """A missing Milvus is reported before workers start: one message, no traceback."""
    uri = f"http://127.0.0.1:{free_ports(1)[0]}"
    result = marketlens("serve", "--workers", "2", "--uri", uri, "--model", random_model, cwd=tmp_path)
    assert result.returncode == 3
    assert result.stderr.count("No Milvus answers") == 1
    assert "Traceback" not in result.stderr

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
from tests.support.exports import write_export
from tests.support.milvus_server import free_ports
from tests.support.pictures import jpeg, picture

START_SECONDS = 300
ALIAS = {"MARKETLENS_MILVUS__ALIAS": "workers"}


@dataclass
class Served:
    """A service with two workers."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def get(self, path: str) -> httpx.Response:
        """Ask over a connection of its own."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=60)

    def workers(self) -> list[psutil.Process]:
        """The processes that answer, besides those that help them."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture
def served(tmp_path: Path, milvus_server: str, random_model: Path) -> Iterator[Served]:
    """Both workers are ready; stopped afterwards, if the test did not."""
    write_export(tmp_path / "export", 6)
    given = ("--model", random_model, "--uri", milvus_server)
    ingested = marketlens("ingest", tmp_path / "export", *given, cwd=tmp_path, **ALIAS)
    assert ingested.returncode == 0, ingested.stderr
    port, path = free_ports(1)[0], tmp_path / "log.jsonl"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [COMMAND, "serve", "--workers", "2", "--port", str(port), *given],
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


def counted(served: Served) -> int:
    """The requests that one of the workers tells of."""
    return sum(point["requests"] for point in served.get("/v1/activity").json()["points"])


def seconds(served: Served, kept: httpx.Client | None = None) -> float:
    """What an answer takes, over a connection that is kept or over a new one."""
    with nullcontext(kept) if kept else httpx.Client() as client:
        started = time.perf_counter()
        client.get(f"http://127.0.0.1:{served.port}/livez")
        return time.perf_counter() - started


@pytest.mark.slow
def test_workers(served: Served) -> None:
    """Both answer, at once; the figures are those of both; one that dies is replaced; SIGTERM leaves nobody behind."""
    assert served.get("/readyz").json()["photos"] == 12
    url = f"http://127.0.0.1:{served.port}/v1/search"
    for seed in range(12):
        assert httpx.post(url, files={"photo": ("p", jpeg(picture(seed % 6)))}, timeout=60).status_code == 200
    folder = Path(served.workers()[0].environ()["PROMETHEUS_MULTIPROC_DIR"])
    for _ in range(30):
        served.get("/livez")
        if len(list(folder.glob("counter_*.db"))) == 2:
            break
    assert len(list(folder.glob("counter_*.db"))) == 2, "one worker answers everything"
    wanted = 'marketlens_requests_total{method="POST",route="/v1/search",status="200"} 12.0'
    assert all(wanted in served.get("/metrics").text for _ in range(6))

    deadline = time.monotonic() + START_SECONDS
    while not all(counted(served) >= 12 for _ in range(6)):  # both look at their figures every ten seconds
        assert time.monotonic() < deadline
        time.sleep(0.5)

    with httpx.Client() as kept:  # were each answer to wait for an ACK, only the first ones of a connection would not
        by_turns = [(seconds(served, kept), seconds(served)) for _ in range(20)]
    on_one, on_new = (sorted(spent)[5] for spent in zip(*by_turns, strict=True))
    assert on_one < 2 * on_new

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
    """Several workers on the embedded database are refused, with what to do instead."""
    result = marketlens("serve", "--workers", "2", "--uri", "m.db", "--model", random_model, cwd=tmp_path)
    assert result.returncode == 2
    assert "one process" in result.stderr
    assert "Milvus server" in result.stderr


def test_what_is_wrong_is_said_once(tmp_path: Path, random_model: Path) -> None:
    """Before there are workers: no Milvus, no traceback, one message."""
    uri = f"http://127.0.0.1:{free_ports(1)[0]}"
    result = marketlens("serve", "--workers", "2", "--uri", uri, "--model", random_model, cwd=tmp_path)
    assert result.returncode == 3
    assert result.stderr.count("No Milvus answers") == 1
    assert "Traceback" not in result.stderr

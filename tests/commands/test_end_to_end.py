"""The whole workflow with the real ResNet50, as a user runs it: commands, processes, HTTP."""

import csv
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.support.commands import COMMAND, marketlens
from tests.support.data.pictures import jpeg
from tests.support.servers.milvus_server import free_ports


@pytest.fixture(scope="module")
def catalogue(listings_part: Path, imagenet_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder into which the command has ingested the first 120 real listings."""
    folder = tmp_path_factory.mktemp("work")
    result = marketlens("ingest", listings_part, "--model", imagenet_model, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder


def rows_of(export: Path) -> list[dict[str, str]]:
    with (export / "Images.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_ingest_loses_nothing(catalogue: Path, listings_part: Path) -> None:
    """The report adds up to the rows of the export."""
    report = json.loads((catalogue / "data" / "report.json").read_text())
    rows = len(rows_of(listings_part))
    assert rows > 150
    assert (report["read"], report["written"], report["rejected"], report["finished"]) == (rows, rows, 0, True)


def test_a_second_ingest_writes_nothing(catalogue: Path, listings_part: Path, imagenet_model: Path) -> None:
    """For the same export, all rows are unchanged."""
    result = marketlens("ingest", listings_part, "--model", imagenet_model, cwd=catalogue)
    report = json.loads((catalogue / "data" / "report.json").read_text())
    assert (result.returncode, report["written"], report["unchanged"]) == (0, 0, len(rows_of(listings_part)))


def test_search_prints_the_listing(catalogue: Path, listings_part: Path, imagenet_model: Path) -> None:
    """A photo of a listing finds that listing first, with a score of 1."""
    row = rows_of(listings_part)[10]
    photo = listings_part / "images" / f"{row['id']}.jpg"
    result = marketlens("search", photo, "--model", imagenet_model, "--limit", 3, cwd=catalogue)
    assert result.returncode == 0, result.stderr
    first = next(line for line in result.stdout.splitlines() if "│" in line)
    assert "1.000" in first
    assert row["product_id"] in result.stdout


def test_embeddings_find_the_other_photo(listings_part: Path, imagenet_model: Path, tmp_path: Path) -> None:
    """With vectors of `marketlens embed`, real photos find their listing's other photo far more often than chance."""
    out = tmp_path / "vectors.parquet"
    result = marketlens("embed", listings_part, "--out", out, "--model", imagenet_model, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    table = pq.read_table(out)
    vectors = np.stack(table["embedding"].to_numpy())
    listings = np.array(table["listing_id"].to_pylist())
    assert vectors.shape == (len(rows_of(listings_part)), 2048)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -1)
    several = np.array([(listings == listing).sum() > 1 for listing in listings])
    recall = (listings[scores.argmax(axis=1)] == listings)[several].mean()
    assert recall > 0.4, f"recall@1 {recall:.3f}"


@pytest.fixture(scope="module")
def up(catalogue: Path, imagenet_model: Path) -> Iterator[tuple[str, str, Path]]:
    """`marketlens up` on free ports: URLs of API and dashboard, and the log."""
    ports = free_ports(2)
    api, dashboard = (f"http://127.0.0.1:{port}" for port in ports)
    environment = os.environ | {
        "MARKETLENS_API__PORT": str(ports[0]),
        "MARKETLENS_DASHBOARD__PORT": str(ports[1]),
        "MARKETLENS_MODEL__PATH": str(imagenet_model),
    }
    log = catalogue / "up.log"
    with log.open("wb") as file:
        process = subprocess.Popen([COMMAND, "up"], cwd=catalogue, env=environment, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 300
        while "Ctrl-C stops both" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.3)
        yield api, dashboard, log
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0, log.read_text()
    # Both are stopped: neither port responds any more.
    for url in (api, dashboard):
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)


def test_up_runs_api_and_dashboard(up: tuple[str, str, Path], listings_part: Path) -> None:
    """Both respond; a real photo finds its listing through HTTP, and the hit's photo can be fetched."""
    api, dashboard, _ = up
    assert httpx.get(f"{api}/readyz").json()["photos"] == len(rows_of(listings_part))
    assert httpx.get(f"{dashboard}/_stcore/health").status_code == 200
    row = rows_of(listings_part)[-1]
    photo = (listings_part / "images" / f"{row['id']}.jpg").read_bytes()
    response = httpx.post(f"{api}/v1/search", files={"photo": photo}, data={"request": '{"limit": 5}'}, timeout=30)
    hit = response.json()["hits"][0]
    assert (hit["listing_id"], round(hit["score"], 3)) == (row["product_id"], 1.0)
    assert httpx.get(api + hit["photo_url"]).headers["content-type"] == "image/jpeg"
    # Paths are decoded once: an id that contains an escape is not another id.
    assert "%2F" in httpx.get(f"{api}/v1/listings/a%252Fb").json()["detail"]


def test_a_photo_scaled_and_saved_again_still_finds_its_listing(up: tuple[str, str, Path], listings_part: Path) -> None:
    """Nine of ten photos find themselves first after being scaled to 60 % and saved at quality 60, as messengers do."""
    rows = rows_of(listings_part)[::10]
    found = 0
    for row in rows:
        image = Image.open(listings_part / "images" / f"{row['id']}.jpg").convert("RGB")
        small = image.resize((image.width * 6 // 10, image.height * 6 // 10))
        response = httpx.post(
            f"{up[0]}/v1/search", files={"photo": jpeg(small)}, data={"request": '{"limit": 3}'}, timeout=30
        )
        photos = [hit["photo_id"] for hit in response.json()["hits"]]
        listings = [hit["listing_id"] for hit in response.json()["hits"]]
        found += row["product_id"] == listings[0] or row["id"] in photos[:1]
    assert found >= 0.9 * len(rows)


def test_an_idle_connection_is_kept(up: tuple[str, str, Path]) -> None:
    """A connection that was idle for longer than uvicorn's default of five seconds accepts another request."""
    with closing(http.client.HTTPConnection(up[0].removeprefix("http://"), timeout=30)) as connection:
        for seconds in (0, 7):
            time.sleep(seconds)
            connection.request("GET", "/livez")
            connection.auto_open = 0  # if it were closed, the second request would otherwise open another
            response = connection.getresponse()
            assert (response.status, len(response.read()) > 0) == (200, True)


@pytest.mark.usefixtures("up")
def test_the_embedded_database_has_one_user(catalogue: Path, listings_part: Path, imagenet_model: Path) -> None:
    """While the API has it open, an ingest names that process, and exits without a traceback."""
    result = marketlens("ingest", listings_part, "--model", imagenet_model, cwd=catalogue)
    assert result.returncode == 3
    assert "in use by process" in result.stderr
    assert "Traceback" not in result.stderr


def test_up_logs_no_noise(up: tuple[str, str, Path]) -> None:
    """Internal messages of FAISS and pymilvus do not reach the log."""
    text = up[2].read_text()
    for noise in ("WARNING clustering", "Traceback", "Method not implemented"):
        assert noise not in text

"""The Ray engine, on two nodes with a real server and real photos: its results equal those of the local engine."""

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from tests.support.commands import COMMAND, marketlens
from tests.support.data.exports import MakeExport, part_of_listings, undated
from tests.support.paths import LISTINGS, MODEL
from tests.support.servers.proxy import Proxy, proxied

# Read when Ray is imported: no usage statistics, loopback only.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
cluster_utils = pytest.importorskip("ray.cluster_utils", reason='needs Ray: pip install "marketlens[ray]"')

BATCH = 8
# A run takes minutes on two busy cores: each of its six processes imports torch.
TIMEOUT_SECONDS = 600
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]


@dataclass(frozen=True)
class RaySetup:
    """Export, model, server and cluster of the runs. `local` is the alias that the local engine has filled."""

    folder: Path
    export: Path
    model: Path
    uri: str
    cluster: Any
    local: str
    local_rows: dict[str, tuple[str, ...]]

    def environment(self, alias: str) -> dict[str, str]:
        return {
            "RAY_ADDRESS": self.cluster.address,
            "MARKETLENS_INGEST__BATCH_SIZE": str(BATCH),
            "MARKETLENS_MILVUS__ALIAS": alias,
            "MARKETLENS_MILVUS__TIMEOUT": "3",
        }

    def arguments(self, *options: str, uri: str = "") -> list[str]:
        where = ["--uri", uri or self.uri, "--model", str(self.model)]
        return ["ingest", str(self.export), *where, "--max-rejected", "0.5", *options]


@pytest.fixture(scope="module")
def ray_setup(tmp_path_factory: pytest.TempPathFactory, milvus_server: str) -> Iterator[RaySetup]:
    if not LISTINGS.exists():
        pytest.skip(f"needs {LISTINGS}, which is not part of the repository")
    folder = tmp_path_factory.mktemp("ray")
    export = part_of_listings(folder_of(folder, "export"), 60)
    spoil(export)
    alias = f"local_{uuid4().hex[:8]}"
    cluster = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": 2**29}
    )
    cluster.add_node(num_cpus=1, object_store_memory=2**29)
    ray_setup = RaySetup(folder, export, MODEL, milvus_server, cluster, alias, {})
    home = folder_of(folder, "local")
    result = marketlens(*ray_setup.arguments(), cwd=home, **ray_setup.environment(alias))
    assert result.returncode == 0, result.stdout + result.stderr
    ray_setup.local_rows.update(ledger(home))
    yield ray_setup
    cluster.shutdown()


def folder_of(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def spoil(export: Path) -> None:
    """Make one photo unreadable, remove one, and repeat one id."""
    with (export / "Images.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    (export / "images" / f"{rows[3][1]}.jpg").write_bytes(b"no photo")
    (export / "images" / f"{rows[40][1]}.jpg").unlink()
    with (export / "Images.csv").open("a") as file:
        file.write(f"9999,{rows[5][1]},{rows[5][2]}\n")


def ledger(home: Path) -> dict[str, tuple[str, ...]]:
    """Return the lines of the only run, by row; every row has exactly one."""
    (run,) = (home / "data" / "ledger").iterdir()
    lines = pq.read_table(run / "rows.parquet").to_pylist()
    assert len(lines) == len({line["row"] for line in lines})
    return {line["row"]: tuple(line[name] for name in ("photo_id", "sha256", "stage", "reason")) for line in lines}


def contents(uri: str, alias: str) -> tuple[dict[str, Any], np.ndarray]:
    photos = PhotoCollection.connect(MilvusSettings(uri=uri, alias=alias), IndexSettings(), consistency="Session")
    photos.info()
    photos.reader.wait_for_scan_lag()
    ids = sorted(photo_id for photo_id, _ in photos.reader.ids())
    assert photos.reader.count() == len(ids) == len(set(ids))
    stored = photos.reader.stored(ids)
    vectors = photos.reader.embeddings(ids)
    photos.close()
    records = {
        photo_id: (undated(stored[photo_id].photo), stored[photo_id].sha256, stored[photo_id].source_tag)
        for photo_id in ids
    }
    return records, vectors


def require_same_as_local(ray_setup: RaySetup, alias: str, home: Path) -> dict[str, Any]:
    """Require the collection and ledger of the local engine; return the run's report."""
    records, vectors = contents(ray_setup.uri, alias)
    expected, expected_vectors = contents(ray_setup.uri, ray_setup.local)
    assert records == expected
    assert np.allclose(vectors, expected_vectors, atol=1e-5)
    assert ledger(home) == ray_setup.local_rows
    report = json.loads((home / "data" / "report.json").read_text())
    assert report["read"] == len(ray_setup.local_rows) == report["written"] + report["unchanged"] + report["rejected"]
    assert report["photos"] == len(expected)
    return dict(report)


def start_ingest(
    ray_setup: RaySetup, home: Path, environment: dict[str, str], *options: str, uri: str = ""
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [COMMAND, *ray_setup.arguments(*options, uri=uri)],
        cwd=home,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_first_lines(home: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the ledger has its first lines, while the run is still going."""
    wait_until(lambda: any(home.glob("data/ledger/*/rows-0*.parquet")) or process.poll() is not None)
    assert process.poll() is None, process.communicate()


def wait_until(condition: Callable[[], bool], seconds: float = TIMEOUT_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def actors(ray_setup: RaySetup, name: str = "") -> list[psutil.Process]:
    """Return the processes of the cluster that run a stage."""
    workers = []
    for node in ray_setup.cluster.list_all_nodes():
        for raylet in node.all_processes["raylet"]:
            for process in psutil.Process(raylet.process.pid).children(recursive=True):
                try:
                    title = " ".join(process.cmdline())
                except psutil.Error:
                    continue
                if title.startswith("ray::MapWorker") and name in title:
                    workers.append(process)
    return workers


def test_the_same_results_with_an_outage(ray_setup: RaySetup, tmp_path: Path) -> None:
    """Records, embeddings, rejected rows and ledger equal those of the local engine, despite an outage of Milvus.

    The run reports the outage once, however many workers wait; the driver prints no more than the local engine.
    """
    alias = f"ray_{uuid4().hex[:8]}"
    with proxied(ray_setup.uri) as (uri, proxy):
        process = start_ingest(ray_setup, tmp_path, ray_setup.environment(alias), "--engine", "ray", uri=uri)
        wait_for_first_lines(tmp_path, process)
        interrupt(proxy)
        out, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, out + errors
    assert errors.count("Retrying for up to") == 1
    assert [line for line in errors.splitlines() if "Ingesting" not in line and "Retrying" not in line] == []
    report = require_same_as_local(ray_setup, alias, tmp_path)
    assert report["unchanged"] == 0
    assert set(report["stage_seconds"]) == {"start", "look up", "read", "decode", "embed", "write"}
    listed = [row["row"] for row in report["rejected_rows"]]
    assert sorted(listed) == sorted(row for row, line in ray_setup.local_rows.items() if line[3])


def interrupt(proxy: Proxy) -> None:
    proxy.cut()
    time.sleep(8)
    proxy.restore()


def test_waiting_is_limited(ray_setup: RaySetup, tmp_path: Path) -> None:
    """A worker that gives up waiting ends the run with its error; the report counts only confirmed photos."""
    alias = f"ray_{uuid4().hex[:8]}"
    with proxied(ray_setup.uri) as (uri, proxy):
        environment = ray_setup.environment(alias) | {"MARKETLENS_INGEST__WAIT_SECONDS": "1"}
        process = start_ingest(ray_setup, tmp_path, environment, "--engine", "ray", uri=uri)
        wait_for_first_lines(tmp_path, process)
        proxy.cut()
        out, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 3, out + errors
    assert f"No Milvus answers at {uri}" in errors
    assert "Traceback" not in errors
    report = json.loads((tmp_path / "data" / "report.json").read_text())
    photos = PhotoCollection.connect(
        MilvusSettings(uri=ray_setup.uri, alias=alias), IndexSettings(), consistency="Session"
    )
    stored = photos.reader.count()
    photos.close()
    assert 0 < report["written"] <= stored < len(ray_setup.local_rows)


def test_a_killed_driver_resumes(ray_setup: RaySetup, tmp_path: Path) -> None:
    """Kill -9 of the driver ends its workers; --resume completes the run, with nothing lost or duplicated."""
    alias = f"ray_{uuid4().hex[:8]}"
    process = start_ingest(ray_setup, tmp_path, ray_setup.environment(alias), "--engine", "ray")
    wait_for_first_lines(tmp_path, process)
    assert actors(ray_setup)
    process.kill()
    process.communicate()
    wait_until(lambda: not actors(ray_setup))
    resumed = marketlens(
        *ray_setup.arguments("--engine", "ray", "--resume"), cwd=tmp_path, **ray_setup.environment(alias)
    )
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    require_same_as_local(ray_setup, alias, tmp_path)


def test_a_killed_worker_is_replaced(ray_setup: RaySetup, tmp_path: Path) -> None:
    """A worker that dies is replaced, and its batch is repeated: nothing is lost or duplicated."""
    alias = f"ray_{uuid4().hex[:8]}"
    process = start_ingest(ray_setup, tmp_path, ray_setup.environment(alias), "--engine", "ray")
    wait_for_first_lines(tmp_path, process)
    for stage in ("EmbedStage", "WriteStage"):
        actors(ray_setup, stage)[0].kill()
    out, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, out + errors
    require_same_as_local(ray_setup, alias, tmp_path)


def test_lite_is_refused(tmp_path: Path, make_export: MakeExport) -> None:
    """Milvus Lite belongs to one process: the command is refused before it creates anything."""
    result = marketlens("ingest", make_export(), "--engine", "ray", "--model", MODEL, cwd=tmp_path)
    assert result.returncode == 2
    assert "Milvus Lite belongs to one process" in result.stderr
    assert not (tmp_path / "data" / "milvus.db").exists()


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [("127.0.0.1:9", 3, "No Ray cluster answers at 127.0.0.1:9"), ("ray://127.0.0.1:9", 2, "Ray client address")],
)
def test_an_address_without_a_cluster(
    ray_setup: RaySetup, tmp_path: Path, address: str, status: int, words: str
) -> None:
    """The error names a RAY_ADDRESS that cannot be used."""
    environment = ray_setup.environment(f"ray_{uuid4().hex[:8]}") | {"RAY_ADDRESS": address}
    result = marketlens(*ray_setup.arguments("--engine", "ray"), cwd=tmp_path, **environment)
    assert result.returncode == status, result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_without_ray(tmp_path: Path, make_export: MakeExport) -> None:
    """If Ray is not installed, the hint says how to install it."""
    code = "import sys; sys.modules['ray'] = None; from marketlens.cli import main; main()"
    result = marketlens("ingest", make_export(), "--engine", "ray", cwd=tmp_path, command=(sys.executable, "-c", code))
    assert result.returncode == 2
    assert 'pip install "marketlens[ray]"' in result.stderr


def test_a_local_cluster_is_only_for_this_machine(tmp_path: Path) -> None:
    """Without RAY_ADDRESS, the started cluster listens only on the loopback interface, and has no dashboard."""
    code = (
        "import psutil; from ingest.engines.ray_cluster import _cluster\n"
        "with _cluster():\n"
        "    family = psutil.Process().children(recursive=True)\n"
        "    ports = [c.laddr for child in family for c in child.net_connections() if c.status == 'LISTEN']\n"
        "    print(len(ports), {p.ip.removeprefix('::ffff:') for p in ports}, [p for p in ports if p.port == 8265])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    count, _, rest = result.stdout.partition(" ")
    assert int(count) > 3, result.stderr
    assert rest.strip() == "{'127.0.0.1'} []"

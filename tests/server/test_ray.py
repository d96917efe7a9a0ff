"""The engine of a Ray cluster: two nodes, a real server, real photos; what it does is what the local one does."""

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
from tests.support.exports import MakeExport, part_of_listings, undated
from tests.support.paths import LISTINGS, MODEL
from tests.support.proxy import Proxy, proxied

# Read when Ray is imported: on the loopback, telling nobody.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
cluster_utils = pytest.importorskip("ray.cluster_utils", reason='needs Ray: pip install "marketlens[ray]"')

BATCH = 8
# A run takes minutes on two cores that something else keeps busy: each of its six processes imports torch.
PATIENCE = 600
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]


@dataclass(frozen=True)
class Bench:
    """Where runs take place. `local` is the alias that the local engine has filled, with its ledger."""

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
def bench(tmp_path_factory: pytest.TempPathFactory, milvus_server: str) -> Iterator[Bench]:
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
    bench = Bench(folder, export, MODEL, milvus_server, cluster, alias, {})
    home = folder_of(folder, "local")
    result = marketlens(*bench.arguments(), cwd=home, **bench.environment(alias))
    assert result.returncode == 0, result.stdout + result.stderr
    bench.local_rows.update(ledger(home))
    yield bench
    cluster.shutdown()


def folder_of(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def spoil(export: Path) -> None:
    """A photo that is none, one that is gone, an id that stands twice."""
    with (export / "Images.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    (export / "images" / f"{rows[3][1]}.jpg").write_bytes(b"no photo")
    (export / "images" / f"{rows[40][1]}.jpg").unlink()
    with (export / "Images.csv").open("a") as file:
        file.write(f"9999,{rows[5][1]},{rows[5][2]}\n")


def ledger(home: Path) -> dict[str, tuple[str, ...]]:
    """The lines of the only run, by row. Every row has one."""
    (run,) = (home / "data" / "ledger").iterdir()
    lines = pq.read_table(run / "rows.parquet").to_pylist()
    assert len(lines) == len({line["row"] for line in lines})
    return {line["row"]: tuple(line[name] for name in ("photo_id", "sha256", "stage", "reason")) for line in lines}


def contents(uri: str, alias: str) -> tuple[dict[str, Any], np.ndarray]:
    photos = PhotoCollection.connect(MilvusSettings(uri=uri, alias=alias), IndexSettings(), consistency="Session")
    photos.info()
    photos.reader.settle()
    ids = sorted(photo_id for photo_id, _ in photos.reader.ids())
    assert photos.reader.count() == len(ids) == len(set(ids))
    stored = photos.reader.stored(ids)
    vectors = photos.reader.embeddings(ids)
    photos.close()
    return {one: (undated(stored[one].photo), stored[one].sha256, stored[one].source_tag) for one in ids}, vectors


def same_as_local(bench: Bench, alias: str, home: Path) -> dict[str, Any]:
    """Collection, ledger and report are those of the local engine; gives the report."""
    records, vectors = contents(bench.uri, alias)
    expected, expected_vectors = contents(bench.uri, bench.local)
    assert records == expected
    assert np.allclose(vectors, expected_vectors, atol=1e-5)
    assert ledger(home) == bench.local_rows
    report = json.loads((home / "data" / "report.json").read_text())
    assert report["read"] == len(bench.local_rows) == report["written"] + report["unchanged"] + report["rejected"]
    assert report["photos"] == len(expected)
    return dict(report)


def started(
    bench: Bench, home: Path, environment: dict[str, str], *options: str, uri: str = ""
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [COMMAND, *bench.arguments(*options, uri=uri)],
        cwd=home,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def in_the_middle(home: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the ledger has its first lines, with more to come."""
    until(lambda: any(home.glob("data/ledger/*/rows-0*.parquet")) or process.poll() is not None)
    assert process.poll() is None, process.communicate()


def until(there: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def actors(bench: Bench, name: str = "") -> list[psutil.Process]:
    """Processes of the cluster that hold a stage of a run."""
    found = []
    for node in bench.cluster.list_all_nodes():
        for raylet in node.all_processes["raylet"]:
            for process in psutil.Process(raylet.process.pid).children(recursive=True):
                try:
                    title = " ".join(process.cmdline())
                except psutil.Error:
                    continue
                if title.startswith("ray::MapWorker") and name in title:
                    found.append(process)
    return found


def test_the_same_with_a_pause(bench: Bench, tmp_path: Path) -> None:
    """Records, embeddings, rejected rows and ledger are those of the local engine, though Milvus went away meanwhile.

    The run says so once, however many workers wait; and the driver says no more than the local one.
    """
    alias = f"ray_{uuid4().hex[:8]}"
    with proxied(bench.uri) as (uri, proxy):
        process = started(bench, tmp_path, bench.environment(alias), "--engine", "ray", uri=uri)
        in_the_middle(tmp_path, process)
        pause(proxy)
        out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + errors
    assert errors.count("Waiting for it") == 1
    assert [line for line in errors.splitlines() if "Ingesting" not in line and "Waiting" not in line] == []
    report = same_as_local(bench, alias, tmp_path)
    assert report["unchanged"] == 0
    assert set(report["stage_seconds"]) == {"start", "look up", "read", "decode", "embed", "write"}
    listed = [row["row"] for row in report["rejected_rows"]]
    assert sorted(listed) == sorted(row for row, line in bench.local_rows.items() if line[3])


def pause(proxy: Proxy) -> None:
    proxy.cut()
    time.sleep(8)
    proxy.restore()


def test_waiting_has_an_end(bench: Bench, tmp_path: Path) -> None:
    """What a worker gives up on ends the run: with the message, and the books of what was confirmed."""
    alias = f"ray_{uuid4().hex[:8]}"
    with proxied(bench.uri) as (uri, proxy):
        environment = bench.environment(alias) | {"MARKETLENS_INGEST__WAIT_SECONDS": "1"}
        process = started(bench, tmp_path, environment, "--engine", "ray", uri=uri)
        in_the_middle(tmp_path, process)
        proxy.cut()
        out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3, out + errors
    assert f"No Milvus answers at {uri}" in errors
    assert "Traceback" not in errors
    report = json.loads((tmp_path / "data" / "report.json").read_text())
    photos = PhotoCollection.connect(MilvusSettings(uri=bench.uri, alias=alias), IndexSettings(), consistency="Session")
    there = photos.reader.count()
    photos.close()
    assert 0 < report["written"] <= there < len(bench.local_rows)


def test_a_killed_driver_resumes(bench: Bench, tmp_path: Path) -> None:
    """Kill -9 of the driver ends its workers; --resume does the rest: nothing lost, nothing twice."""
    alias = f"ray_{uuid4().hex[:8]}"
    process = started(bench, tmp_path, bench.environment(alias), "--engine", "ray")
    in_the_middle(tmp_path, process)
    assert actors(bench)
    process.kill()
    process.communicate()
    until(lambda: not actors(bench))
    again = marketlens(*bench.arguments("--engine", "ray", "--resume"), cwd=tmp_path, **bench.environment(alias))
    assert again.returncode == 0, again.stdout + again.stderr
    same_as_local(bench, alias, tmp_path)


def test_a_killed_worker_is_made_good(bench: Bench, tmp_path: Path) -> None:
    """A worker that dies in the middle is replaced, and its batch done again: nothing lost, nothing twice."""
    alias = f"ray_{uuid4().hex[:8]}"
    process = started(bench, tmp_path, bench.environment(alias), "--engine", "ray")
    in_the_middle(tmp_path, process)
    for stage in ("Embed", "Write"):
        actors(bench, stage)[0].kill()
    out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + errors
    same_as_local(bench, alias, tmp_path)


def test_lite_is_refused(tmp_path: Path, make_export: MakeExport) -> None:
    """Milvus Lite belongs to one process: said before anything is made, with the way out."""
    result = marketlens("ingest", make_export(), "--engine", "ray", "--model", MODEL, cwd=tmp_path)
    assert result.returncode == 2
    assert "Milvus Lite belongs to one process" in result.stderr
    assert not (tmp_path / "data" / "milvus.db").exists()


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [("127.0.0.1:9", 3, "No Ray cluster answers at 127.0.0.1:9"), ("ray://127.0.0.1:9", 2, "client server")],
)
def test_an_address_without_a_cluster(bench: Bench, tmp_path: Path, address: str, status: int, words: str) -> None:
    """A RAY_ADDRESS that cannot be used is named."""
    environment = bench.environment(f"ray_{uuid4().hex[:8]}") | {"RAY_ADDRESS": address}
    result = marketlens(*bench.arguments("--engine", "ray"), cwd=tmp_path, **environment)
    assert result.returncode == status, result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_without_ray(tmp_path: Path, make_export: MakeExport) -> None:
    """Where Ray is not installed, the message says how to install it."""
    code = "import sys; sys.modules['ray'] = None; from marketlens.cli import main; main()"
    result = marketlens("ingest", make_export(), "--engine", "ray", cwd=tmp_path, command=(sys.executable, "-c", code))
    assert result.returncode == 2
    assert 'pip install "marketlens[ray]"' in result.stderr


def test_a_cluster_of_ones_own_is_for_this_machine(tmp_path: Path) -> None:
    """Where no RAY_ADDRESS is set, what is started listens on the loopback alone, and has no dashboard."""
    code = (
        "import psutil; from ingest.engines.ray_cluster import _cluster\n"
        "with _cluster():\n"
        "    family = psutil.Process().children(recursive=True)\n"
        "    ports = [c.laddr for one in family for c in one.net_connections() if c.status == 'LISTEN']\n"
        "    print(len(ports), {p.ip.removeprefix('::ffff:') for p in ports}, [p for p in ports if p.port == 8265])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    count, _, rest = result.stdout.partition(" ")
    assert int(count) > 3, result.stderr
    assert rest.strip() == "{'127.0.0.1'} []"

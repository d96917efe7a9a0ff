"""Milvus Lite and other processes: the holder of its lock, and idle connections."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.store.lite_files import lock_holder
from tests.support.paths import ROOT

HOLD = """
import fcntl, sys
with open(sys.argv[1], "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux lists the holders of locks")
def test_lock_holder(tmp_path: Path) -> None:
    """The process that holds the database's lock is found while it holds it, and none before or after."""
    (tmp_path / "LOCK").touch()
    assert lock_holder(tmp_path) is None
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "LOCK"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin
        assert child.stdout
        assert child.stdout.readline() == "held\n"
        assert lock_holder(tmp_path) == child.pid != os.getpid()
        child.stdin.close()
        child.wait(20)
        assert lock_holder(tmp_path) is None


IDLE = """
import sys, time
from catalog.store import milvus
from catalog.settings import IndexSettings, MilvusSettings
if sys.argv[2] == "pinging":
    milvus._NO_PINGS = {}
connection = milvus.Milvus.connect(MilvusSettings(uri=sys.argv[1]), IndexSettings())
connection.client.list_collections()
time.sleep(12)
connection.client.list_collections()
connection.close()
"""


@pytest.mark.slow
def test_an_idle_connection_is_left_alone(tmp_path: Path) -> None:
    """Lite's server closes the connection of a client that sends keepalive pings every 10 seconds: ours sends none."""
    # Both at once: each waits for 12 seconds.
    processes = {
        way: subprocess.Popen(
            [sys.executable, "-c", IDLE, tmp_path / f"{way}.db", way],
            cwd=ROOT,
            env=os.environ | {"GRPC_VERBOSITY": "debug", "GRPC_TRACE": "http_keepalive"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for way in ("pinging", "ours")
    }
    pings = {}
    for way, process in processes.items():
        _, log = process.communicate(timeout=120)
        assert process.returncode == 0, log
        pings[way] = log.count("Finish keepalive ping")
    assert pings["pinging"] > 0, "gRPC logs pings with another text now"
    assert pings["ours"] == 0

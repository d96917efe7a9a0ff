"""A real Milvus server for tests, from a container or from the PyPI package `milvus`.

The container's image is that of docker-compose.yml, or MILVUS_IMAGE. If MILVUS_IMAGE does not start, the test fails.
"""

import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from docker.errors import DockerException
from pymilvus import MilvusClient, MilvusException
from testcontainers.community.milvus import MilvusContainer

from tests.support.paths import ROOT

_COMPOSE = (ROOT / "docker-compose.yml").read_text()
DEFAULT_IMAGE = re.search(r"\$\{MILVUS_IMAGE:-([^}]+)\}", _COMPOSE)[1]  # type: ignore[index]
READY_SECONDS = 300
_PORTS = (
    "etcd-port",
    "root-coord-port",
    "proxy-port",
    "proxy-internal-port",
    "query-coord-port",
    "query-node-port",
    "index-coord-port",
    "index-node-port",
    "data-coord-port",
    "data-node-port",
)

_IMPATIENT = {
    # A stopping query node waits half an hour for another one to take over, but there is none.
    "COMMON_GRACEFULSTOPTIMEOUT": "1",
    # Milliseconds between checks for work: the defaults of 1,000 and 500 cost each test most of a second.
    "QUERYCOORD_CHECKINTERVAL": "50",
    "QUERYCOORD_CHECKSEGMENTINTERVAL": "50",
    "QUERYCOORD_CHECKCHANNELINTERVAL": "50",
    "QUERYCOORD_DISTPULLINTERVAL": "50",
}


@contextmanager
def running_server(folder: Path) -> Iterator[str]:
    """Run a server until the end of the block; yield its address when it is ready."""
    if _docker_answers():
        try:
            container = MilvusContainer(os.environ.get("MILVUS_IMAGE", DEFAULT_IMAGE)).start()
        except DockerException as error:
            if "MILVUS_IMAGE" in os.environ:
                raise
            print(f"no container ({error}); using the package `milvus`")
        else:
            try:
                yield container.get_connection_url()
            finally:
                container.stop()
            return
    server = PackageServer(folder)
    server.start()
    try:
        yield server.uri
    finally:
        server.stop()


class PackageServer:
    """The server of the PyPI package `milvus`, with its own ports and data; skips the test if it is not installed."""

    def __init__(self, folder: Path) -> None:
        self._command = Path(sys.executable).with_name("milvus-server")
        if not self._command.exists():
            pytest.skip("needs a Milvus server: a Docker engine, or the package `milvus` (Linux x86_64)")
        self._folder = folder
        ports = free_ports(len(_PORTS) + 2)
        self._options = [f"--{name}={port}" for name, port in zip(_PORTS, ports, strict=False)]
        self._port = ports[_PORTS.index("proxy-port")]
        self.uri = f"http://127.0.0.1:{self._port}"
        # The ports of the embedded etcd are set only by file; without it, two servers would both use 2379 and 2380.
        self._etcd = folder / "etcd.yaml"
        peer, client = (f"http://127.0.0.1:{port}" for port in ports[-2:])
        self._etcd.write_text(
            f"listen-peer-urls: {peer}\ninitial-advertise-peer-urls: {peer}\ninitial-cluster: default={peer}\n"
            f"listen-client-urls: {client}\nadvertise-client-urls: {client}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        """Start or restart the server on its data."""
        # A connection of a killed server may linger on the port for a minute: the package would use another port.
        while not _is_free(self._port):
            time.sleep(0.2)
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._command, "--data", self._folder / "data", *self._options],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | _IMPATIENT | {"ETCD_CONFIG_PATH": str(self._etcd)},
                start_new_session=True,
            )
        if wait:
            self._wait(self._process)

    def kill(self) -> None:
        """Kill the wrapper and the server with kill -9: killing only the wrapper leaves the server running."""
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """Stop the server gracefully, or kill it if that takes too long."""
        if self._process:
            # Only on SIGINT does the wrapper stop the server it started.
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
            self.kill()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            try:
                client = MilvusClient(self.uri, timeout=2)
                client.list_collections(timeout=2)
                client.close()
                return
            except MilvusException:
                time.sleep(0.5)
        self.kill()
        pytest.fail(f"the Milvus server did not start:\n{(self._folder / 'server.log').read_text()[-3000:]}")


def free_ports(count: int) -> list[int]:
    """Return free ports that no outgoing connection takes while their server is stopped."""
    ports = random.SystemRandom().sample(range(20_000, 32_000), 1_000)  # Linux' ephemeral ports start at 32768
    return list(itertools.islice(filter(_is_free, ports), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _docker_answers() -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0

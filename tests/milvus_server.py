"""A real Milvus server for tests, from a container or from the PyPI package `milvus`."""

import contextlib
import os
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

DEFAULT_IMAGE = "milvusdb/milvus:v2.6.0"
READY_SECONDS = 120
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


@contextmanager
def running_server(folder: Path) -> Iterator[str]:
    """Address of a server that is ready; it is stopped afterwards."""
    if _docker_answers():
        try:
            container = MilvusContainer(os.environ.get("MILVUS_IMAGE", DEFAULT_IMAGE)).start()
        except DockerException as error:
            print(f"no container ({error}); using the package `milvus`")
        else:
            try:
                yield container.get_connection_url()
            finally:
                container.stop()
            return
    command = Path(sys.executable).with_name("milvus-server")
    if not command.exists():
        pytest.skip("needs a Milvus server: a Docker engine, or the package `milvus` (Linux x86_64)")
    yield from _package_server(command, folder)


def _package_server(command: Path, folder: Path) -> Iterator[str]:
    ports = free_ports(len(_PORTS) + 2)
    options = [f"--{name}={port}" for name, port in zip(_PORTS, ports, strict=False)]
    # Without a file of its own the embedded etcd listens on 2379 and 2380, where two servers meet and one crashes.
    etcd = folder / "etcd.yaml"
    peer, client = (f"http://127.0.0.1:{port}" for port in ports[-2:])
    etcd.write_text(
        f"listen-peer-urls: {peer}\ninitial-advertise-peer-urls: {peer}\ninitial-cluster: default={peer}\n"
        f"listen-client-urls: {client}\nadvertise-client-urls: {client}\n"
    )
    log = (folder / "server.log").open("wb")
    process = subprocess.Popen(
        [command, "--data", folder / "data", *options],
        stdout=log,
        stderr=subprocess.STDOUT,
        env=os.environ | {"ETCD_CONFIG_PATH": str(etcd)},
        start_new_session=True,
    )
    uri = f"http://127.0.0.1:{ports[_PORTS.index('proxy-port')]}"
    try:
        _wait(uri, process, folder)
        yield uri
    finally:
        # The wrapper answers SIGINT alone by stopping the server it started.
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        if process.poll() is None:
            # The wrapper's child as well: a wrapper killed alone leaves the server behind.
            os.killpg(process.pid, signal.SIGKILL)
        log.close()


def _wait(uri: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            client = MilvusClient(uri, timeout=2)
            client.list_collections(timeout=2)
            client.close()
            return
        except MilvusException:
            time.sleep(0.5)
    process.kill()
    pytest.fail(f"the Milvus server did not come up:\n{(folder / 'server.log').read_text()[-3000:]}")


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _docker_answers() -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0

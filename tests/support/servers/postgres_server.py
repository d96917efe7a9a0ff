"""A real PostgreSQL for tests: the installed `initdb` and `postgres`, on the loopback, in a temporary folder."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from tests.support.servers.milvus_server import free_ports

READY_SECONDS = 300


@contextmanager
def running_postgres() -> Iterator[str]:
    """Run a server until the end of the block; yield its address, without a database name, when it is ready."""
    initdb, postgres = shutil.which("initdb"), shutil.which("postgres")
    if not initdb or not postgres:
        pytest.skip("needs the commands initdb and postgres on the PATH (Debian: postgresql)")
    # Not below pytest's folder, which only its owner may enter: PostgreSQL refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="marketlens-postgres-"))
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
        user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    data, port = folder / "data", free_ports(1)[0]
    options = {"cwd": folder, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **user}
    created = subprocess.run([initdb, "-D", data, "-U", "tester", "-A", "trust", "-N"], check=False, **options)
    assert created.returncode == 0, created.stdout
    options["stdout"] = (folder / "log").open("wb")
    server = subprocess.Popen([postgres, "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", folder], **options)
    address = f"postgresql://tester@127.0.0.1:{port}"
    try:
        _wait(address, server, folder / "log")
        yield address
    finally:
        server.send_signal(signal.SIGINT)  # its fast shutdown
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def new_database(address: str, name: str) -> str:
    """Create an empty database; return its address."""
    engine = create_engine(driver(address) + "/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    engine.dispose()
    return f"{address}/{name}"


def _wait(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    engine = create_engine(driver(address) + "/postgres")
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            engine.connect().close()
        except OperationalError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        else:
            engine.dispose()
            return


def driver(address: str) -> str:
    """Return the address in SQLAlchemy's form, with the installed driver."""
    return address.replace("postgresql://", "postgresql+psycopg://")

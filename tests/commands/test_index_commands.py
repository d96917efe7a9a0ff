"""`marketlens index` as a user sees it: the life of a build, and the messages for mistakes."""

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from safetensors.torch import save_file
from torchvision.models import resnet50

from embedding.model_import import import_model
from tests.support.commands import COMMAND, RunHere, assert_failed
from tests.support.data.exports import MakeExport
from tests.support.servers.milvus_server import free_ports


@pytest.fixture(scope="module")
def second_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another ResNet50 with random weights."""
    import torch

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("second")
    save_file(resnet50().half().state_dict(), folder / "random.safetensors")
    import_model(folder / "model", folder / "random.safetensors")
    return folder / "model"


def test_a_build_from_first_to_last(
    tmp_path: Path, make_export: MakeExport, random_model: Path, second_model: Path, run_here: RunHere
) -> None:
    """Build with another model, check, promote, search, serve, roll back, promote again, drop the old build."""
    own = {"MARKETLENS_MODEL__PATH": str(random_model)}

    def index(*arguments: object) -> str:
        result = run_here("index", *arguments, cwd=tmp_path, **own)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    export = make_export(listings=6, photos_each=2)
    assert run_here("ingest", export, cwd=tmp_path, **own).returncode == 0
    built = index("build", "--model", second_model)
    assert "embedding every photo with" in built
    assert "index promote" in built
    names = [word for word in index("status").split() if word.startswith("photos_")]
    new, old = names
    assert "before" in run_here("index", "check", cwd=tmp_path, **own).stdout
    assert_failed(run_here("index", "drop", old, cwd=tmp_path, **own), 2, "is live")
    assert f"Would promote {new}" in index("promote", "--dry-run")
    assert f"MARKETLENS_MODEL__PATH={second_model}" in index("promote")
    photo = export / "images" / "l0-0.jpg"
    assert_failed(run_here("search", photo, cwd=tmp_path, **own), 2, f"--model {second_model}")
    assert run_here("search", photo, "--model", second_model, cwd=tmp_path).returncode == 0
    assert_failed(run_here("index", "drop", old, cwd=tmp_path, **own), 2, "target of a rollback", "--force")
    assert served_collection(tmp_path, own) == new
    back = index("rollback")
    assert f"Live: {old}" in back
    assert f"MARKETLENS_MODEL__PATH={random_model}" in back
    assert f"Live: {new}" in index("promote", new)
    assert f"Dropped {old}" in index("drop", old, "--force")
    assert old not in index("status")


def served_collection(folder: Path, environment: dict[str, str]) -> str:
    """Return the collection that `marketlens serve` reports when it is ready."""
    port = free_ports(1)[0]
    process = subprocess.Popen([COMMAND, "serve", "--port", str(port)], cwd=folder, env=os.environ | environment)
    try:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(httpx.TransportError):
                response = httpx.get(f"http://127.0.0.1:{port}/readyz")
                if response.status_code == 200:
                    return str(response.json()["collection"])
            time.sleep(0.2)
        return "nothing"
    finally:
        process.terminate()
        process.wait(30)


def test_other_index_parameters(tmp_path: Path, make_export: MakeExport, random_model: Path, run_here: RunHere) -> None:
    """With the same model, embeddings are copied; a build that differs from the live collection is not promoted."""
    options = {"MARKETLENS_MODEL__PATH": str(random_model), "MARKETLENS_INDEX__TYPE": "HNSW"}
    export = make_export(listings=4)
    assert run_here("ingest", export, cwd=tmp_path, MARKETLENS_MODEL__PATH=str(random_model)).returncode == 0
    assert "copying embeddings" in run_here("index", "build", cwd=tmp_path, **options).stdout
    (tmp_path / "more").mkdir()
    more = make_export(listings=5, name="more/export")
    assert run_here("ingest", more, cwd=tmp_path, MARKETLENS_MODEL__PATH=str(random_model)).returncode == 0
    assert_failed(
        run_here("index", "promote", cwd=tmp_path, **options), 2, "missing", "index build --resume", "--force"
    )
    check = run_here("index", "check", cwd=tmp_path, **options)
    assert check.returncode == 1
    assert "photos differ" in check.stdout
    assert run_here("index", "build", "--resume", cwd=tmp_path, **options).returncode == 0
    promoted = run_here("index", "promote", cwd=tmp_path, **options)
    assert promoted.returncode == 0, promoted.stderr
    assert "HNSW" in run_here("index", "status", cwd=tmp_path).stdout


def test_mistakes(tmp_path: Path, run_here: RunHere) -> None:
    """Without a catalogue, every command says so, and none creates a database."""
    for arguments in (["status"], ["build"], ["check"], ["golden"], ["promote"], ["rollback"], ["drop", "x"]):
        assert_failed(run_here("index", *arguments, cwd=tmp_path), 3, "marketlens ingest")
    assert not (tmp_path / "data").exists()
    assert_failed(run_here("index", "drop", cwd=tmp_path), 2)

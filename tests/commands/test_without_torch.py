"""Serving needs neither torch nor its companions: these commands run although their imports fail."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from search_api import schemas
from search_api.client import Client
from tests.support.commands import assert_failed, marketlens
from tests.support.dashboard.browser import process
from tests.support.data.exports import write_export
from tests.support.servers.milvus_server import free_ports

# Find every installed package except these.
WITHOUT = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in {"torch", "torchvision", "onnxscript", "triton"}
        return None if hidden else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from marketlens import cli
sys.argv[0] = "marketlens"
cli.main()
"""
COMMAND = (sys.executable, "-c", WITHOUT)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an export, ingested by the shipped model without torch."""
    home = tmp_path_factory.mktemp("home")
    write_export(home / "export", 8)
    result = marketlens("ingest", "export", cwd=home, command=COMMAND)
    assert result.returncode == 0, result.stdout + result.stderr
    return home


def test_import_fails(tmp_path: Path) -> None:
    """Without torch, a training says what to install."""
    result = marketlens("train", "prepared", "--out", "model", cwd=tmp_path, command=COMMAND)
    assert_failed(result, 2, "torch is not installed", f'{sys.executable} -m pip install "marketlens[train]"')
    assert list(tmp_path.iterdir()) == []


def test_search(home: Path) -> None:
    """A photo finds its own listing, and doctor finds no problem."""
    found = marketlens("search", "export/images/l3-0.jpg", "--limit", 1, cwd=home, command=COMMAND)
    assert found.returncode == 0, found.stderr
    assert "Thing 3" in found.stdout
    checked = marketlens("doctor", cwd=home, command=COMMAND)
    assert checked.returncode == 0, checked.stdout
    assert 'pip install "marketlens[train]"' in checked.stdout


def test_insights(home: Path) -> None:
    """Insights of the whole collection: categories by the head, map, duplicates."""
    result = marketlens("insights", cwd=home, command=COMMAND)
    assert result.returncode == 0, result.stderr
    assert "photos on the map" in result.stdout


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[Client]:
    """A client of the running service."""
    port = free_ports(1)[0]
    with process([*COMMAND, "serve", "--port", port], home, f"http://127.0.0.1:{port}/readyz"):
        yield Client(f"http://127.0.0.1:{port}")


def test_serve(home: Path, client: Client) -> None:
    """The API embeds an upload, searches, classifies it and explains the hit."""
    photo = (home / "export" / "images" / "l5-0.jpg").read_bytes()
    (hit, *_) = client.search(schemas.SearchRequest(limit=1), [photo]).hits
    assert hit.listing_id == "l5"
    explained = client.explain(schemas.ExplainRequest(hit_photo_id=hit.photo_id), [photo])
    assert explained.query is not None
    assert sum(map(sum, explained.query.cells)) == pytest.approx(explained.score, abs=1e-3)

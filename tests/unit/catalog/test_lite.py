from pathlib import Path

import pytest
from milvus_lite.server_manager import server_manager_instance
from pymilvus import MilvusClient, MilvusException

from catalog.settings import IndexSettings, MilvusSettings
from catalog.store import milvus
from catalog.store.lite_files import drop_index_files, free_bytes, lock_holder


def test_another_lock(tmp_path: Path) -> None:
    """A lock on another file does not count as a lock on this database."""
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "LOCK").touch()
    with (tmp_path / "OTHER").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert lock_holder(tmp_path) is None


def test_no_database(tmp_path: Path) -> None:
    """A database that does not exist has no lock holder."""
    assert lock_holder(tmp_path / "none.db") is None


def test_drop_index_files(tmp_path: Path) -> None:
    """Index files are deleted in every folder; files that cannot be rebuilt stay."""
    deep = tmp_path / "collections" / "photos" / "indexes"
    deep.mkdir(parents=True)
    names = ["a.embedding.ivf_flat.idx", "b.idx", "data.parquet", "manifest.json", "idx"]
    for name in names:
        (deep / name).write_bytes(b"x")
    assert drop_index_files(tmp_path) == 2
    assert sorted(path.name for path in deep.iterdir()) == ["data.parquet", "idx", "manifest.json"]
    assert drop_index_files(tmp_path) == 0


def test_free_bytes(tmp_path: Path) -> None:
    """Free disk space can be read even if the database does not exist yet."""
    assert free_bytes(tmp_path / "none" / "deeper" / "milvus.db") > 0


def test_a_database_is_reopened_if_its_server_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client may fail to reach the server it has just started in this process; then it starts a second one."""
    opened: list[str] = []

    def unreachable_once(uri: str, **options: object) -> MilvusClient:
        opened.append(uri)
        if len(opened) == 1:
            server_manager_instance.start_and_get_uri(uri)
            raise MilvusException(2, "Fail connecting to server on 127.0.0.1:1, illegal connection params")
        return MilvusClient(uri, **options)

    monkeypatch.setattr(milvus, "MilvusClient", unreachable_once)
    store = milvus.Milvus.connect(MilvusSettings(uri=str(tmp_path / "milvus.db")), IndexSettings())
    assert store.client.list_collections() == []
    store.close()
    assert len(opened) == 2

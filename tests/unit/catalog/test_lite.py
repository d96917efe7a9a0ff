from pathlib import Path

import pytest

from catalog.store.lite_files import drop_index_files, free_bytes, lock_holder


def test_another_lock(tmp_path: Path) -> None:
    """A lock on another file says nothing about this database."""
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "LOCK").touch()
    with (tmp_path / "OTHER").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert lock_holder(tmp_path) is None


def test_no_database(tmp_path: Path) -> None:
    """Nobody holds a database that is not there."""
    assert lock_holder(tmp_path / "none.db") is None


def test_drop_index_files(tmp_path: Path) -> None:
    """Index files go, wherever they lie, and everything that cannot be rebuilt stays."""
    deep = tmp_path / "collections" / "photos" / "indexes"
    deep.mkdir(parents=True)
    names = ["a.embedding.ivf_flat.idx", "b.idx", "data.parquet", "manifest.json", "idx"]
    for name in names:
        (deep / name).write_bytes(b"x")
    assert drop_index_files(tmp_path) == 2
    assert sorted(path.name for path in deep.iterdir()) == ["data.parquet", "idx", "manifest.json"]
    assert drop_index_files(tmp_path) == 0


def test_free_bytes(tmp_path: Path) -> None:
    """Disk space is told for a database that is still to be made, too."""
    assert free_bytes(tmp_path / "none" / "deeper" / "milvus.db") > 0

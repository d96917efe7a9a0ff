"""Files of Milvus Lite: the lock's holder, index files that a kill truncated, free disk space."""

import shutil
from pathlib import Path


def lock_holder(database: Path) -> int | None:
    """Return the id of the process that holds the database's lock; None if unknown."""
    lock, table = database / "LOCK", Path("/proc/locks")
    if not lock.exists() or not table.exists():
        return None
    inode = str(lock.stat().st_ino)
    for line in table.read_text().splitlines():
        # 1: FLOCK  ADVISORY  WRITE 4711 fe:00:131234 0 EOF
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].rsplit(":", 1)[-1] == inode:
            return int(fields[4])
    return None


def drop_index_files(database: Path) -> int:
    """Delete every index file; Lite rebuilds them at the next load. Return how many were deleted.

    A kill during an index write leaves a truncated file, and loading fails until that file is deleted.
    """
    files = list(database.rglob("*.idx"))
    for file in files:
        file.unlink()
    return len(files)


def free_bytes(path: Path) -> int:
    """Return the free disk space where this path is or would be."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free

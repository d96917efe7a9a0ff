"""What embedded Milvus Lite needs beside its client: who holds the lock, and mending what a kill left behind."""

import shutil
from pathlib import Path


def lock_holder(database: Path) -> int | None:
    """Give the id of the process that holds the database's lock; None where the system does not tell."""
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
    """Delete every index file; Lite builds them anew at the next load. Returns how many there were.

    A kill while an index is written leaves a cut file, and the load then fails until it is gone.
    """
    files = list(database.rglob("*.idx"))
    for file in files:
        file.unlink()
    return len(files)


def free_bytes(path: Path) -> int:
    """Disk space left where this path is or would be."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free

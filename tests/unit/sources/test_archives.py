import os
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pytest

from catalog.errors import PhotoUnusable
from catalog.photo_files import archives
from catalog.photo_files.files import members, read_photo, source_tag
from tests.support.servers.web import Answer, Site

NAMES = ["a b.jpg", "ü🎹.jpg", "a#b?%20.jpg", "urn::1.jpg", "[x]*.jpg", "d/e/f.jpg", "http:/x.jpg"]


def make(path: Path, files: dict[str, bytes], *, mtime: int = 1_000) -> Path:
    """Write a zip or tar, depending on the file extension."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, body in files.items():
                archive.writestr(name, body)
    else:
        with tarfile.open(path, "w") as tar:
            for name, body in files.items():
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(body), mtime
                tar.addfile(info, BytesIO(body))
    return path


def uri(archive: Path, name: str) -> str:
    return f"{archive.suffix[1:]}://{name}::{archive}"


def reason(location: str, limit: int = 1_000_000) -> str:
    with pytest.raises(PhotoUnusable) as error:
        read_photo(location, limit)
    return error.value.reason


@pytest.fixture(params=["zip", "tar"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A path for an archive of each kind."""
    return tmp_path / f"a.{request.param}"


def test_names(path: Path) -> None:
    """A file in an archive is read byte for byte, whatever characters its name has."""
    files = {name: name.encode() * 100 for name in NAMES}
    make(path, files)
    assert members(path.suffix[1:], str(path)) == set(NAMES)
    assert {name: read_photo(uri(path, name), 10_000) for name in NAMES} == files


def test_names_as_archivers_write_them(path: Path) -> None:
    """Names that begin with ./ (as `tar -C folder .` writes them) are normalised; names that lead out are ignored."""
    make(path, {"./images//a.jpg": b"a", "../b.jpg": b"b", "/c.jpg": b"c"})
    assert members(path.suffix[1:], str(path)) == {"images/a.jpg", "c.jpg"}
    assert read_photo(uri(path, "images/a.jpg"), 10) == b"a"
    assert reason(uri(path, "../b.jpg")) == "missing"


def test_utf8_without_a_flag(tmp_path: Path) -> None:
    """UTF-8 names are decoded even in a zip without the UTF-8 flag."""
    path = make(tmp_path / "a.zip", {"ü.jpg": b"x"})
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\x00\x08\x08\x00", b"\x00\x00\x08\x00"))
    assert zipfile.ZipFile(path).namelist() != ["ü.jpg"], "the flag is gone"
    assert read_photo(uri(path, "ü.jpg"), 10) == b"x"


def test_unusable(path: Path) -> None:
    """Missing, empty and too large files in an archive have different reasons; a folder counts as missing."""
    make(path, {"empty.jpg": b"", "large.jpg": b"x" * 100, "d/x.jpg": b"x"})
    assert reason(uri(path, "none.jpg")) == "missing"
    assert reason(uri(path, "empty.jpg")) == "empty"
    assert reason(uri(path, "large.jpg"), 99) == "too_large"
    assert len(read_photo(uri(path, "large.jpg"), 100)) == 100
    assert reason(uri(path, "d")) == "missing"


def test_bomb(tmp_path: Path) -> None:
    """A small member that expands to gigabytes is unpacked only up to the limit."""
    path = make(tmp_path / "a.zip", {"bomb.jpg": b"\0" * 50_000_000})
    assert path.stat().st_size < 100_000
    assert reason(uri(path, "bomb.jpg"), 1_000) == "too_large"


def test_no_archive(path: Path) -> None:
    """A file that is damaged, missing or not an archive makes its photos unusable, without a traceback."""
    assert reason(uri(path, "a.jpg")) == "missing"
    path.write_bytes(b"no archive" * 1_000)
    assert reason(uri(path, "a.jpg")) == "unreadable"
    make(path, {"a.jpg": os.urandom(10_000), "b.jpg": b"b"})
    data = path.read_bytes()
    path.write_bytes(data[:2_000] if path.suffix == ".tar" else data[:2_000] + b"\xff" * 2_000 + data[4_000:])
    assert reason(uri(path, "a.jpg")) == "unreadable"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_member(tmp_path: Path, method: int) -> None:
    """With every compression, a damaged member affects only its own photo."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.jpg", os.urandom(1_000))
        archive.writestr("b.jpg", b"b" * 1_000)
    data = bytearray(path.read_bytes())
    begin = data.index(b"a.jpg") + len(b"a.jpg") + 4
    data[begin : begin + 12] = b"\xff" * 12
    path.write_bytes(data)
    assert reason(uri(path, "a.jpg")) == "unreadable"
    assert read_photo(uri(path, "b.jpg"), 10_000) == b"b" * 1_000


def test_encrypted(tmp_path: Path) -> None:
    """An encrypted member is unreadable."""
    path = make(tmp_path / "a.zip", {"a.jpg": b"x"})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert reason(uri(path, "a.jpg")) == "unreadable"


def test_links_in_a_tar(tmp_path: Path) -> None:
    """A hard link within the archive stands for its target; symbolic links are ignored, so none leads out."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        file = tarfile.TarInfo("a.jpg")
        file.size, file.mtime = 3, 1_000
        tar.addfile(file, BytesIO(b"one"))
        for name, kind, target in [
            ("hard.jpg", tarfile.LNKTYPE, "a.jpg"),
            ("soft.jpg", tarfile.SYMTYPE, "a.jpg"),
            ("out.jpg", tarfile.SYMTYPE, "/etc/hostname"),
            ("hard_out.jpg", tarfile.LNKTYPE, "/etc/hostname"),
            ("pipe.jpg", tarfile.FIFOTYPE, ""),
        ]:
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            tar.addfile(link)
    assert read_photo(uri(tmp_path / "a.tar", "hard.jpg"), 10) == b"one"
    assert source_tag(uri(tmp_path / "a.tar", "hard.jpg")) == source_tag(uri(tmp_path / "a.tar", "a.jpg")) != ""
    assert members("tar", str(tmp_path / "a.tar")) == {"a.jpg", "hard.jpg"}


def test_replaced(path: Path) -> None:
    """An archive that is replaced while it is open is reopened."""
    make(path, {"a.jpg": b"one", "b.jpg": b"b"})
    assert read_photo(uri(path, "a.jpg"), 10) == b"one"
    other = make(path.with_name(f"other{path.suffix}"), {"b.jpg": b"b" * 2_000, "a.jpg": b"three"})
    other.replace(path)
    assert read_photo(uri(path, "a.jpg"), 10) == b"three"


def test_opened_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive's list of files is read once, even if many threads start at the same time."""
    make(path, {"a.jpg": b"a"})
    opened: list[str] = []
    opening = archives._open

    def slowly(location: str) -> BinaryIO:
        opened.append(location)
        time.sleep(0.05)  # long enough for the other threads to need it too
        return opening(location)

    monkeypatch.setattr(archives, "_open", slowly)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: read_photo(uri(path, "a.jpg"), 10), range(64))) == {b"a"}
    assert opened == [str(path)]


def test_threads(path: Path) -> None:
    """Threads that read from one archive at the same time each get the right file."""
    files = {f"{number}.jpg": os.urandom(60_000) for number in range(20)}
    make(path, files)
    names = list(files) * 20
    with ThreadPoolExecutor(8) as pool:
        read = pool.map(lambda name: read_photo(uri(path, name), 100_000), names)
        assert all(data == files[name] for name, data in zip(names, read, strict=True))


def test_tags(path: Path) -> None:
    """A member's tag changes if the archive is rebuilt with other bytes, and stays if the bytes are the same."""
    tags = []
    for body, mtime in [(b"one", 1_000), (b"one", 1_000), (b"two", 2_000)]:
        make(path, {"a.jpg": body, "other.jpg": os.urandom(50)}, mtime=mtime)
        tags.append(source_tag(uri(path, "a.jpg")))
    assert tags[0] == tags[1] != tags[2]
    assert all(tags)
    assert source_tag(uri(path, "none.jpg")) == ""


def test_tar_without_times(tmp_path: Path) -> None:
    """The members of a tar without times have no tags."""
    assert source_tag(uri(make(tmp_path / "a.tar", {"a.jpg": b"x"}, mtime=0), "a.jpg")) == ""


def test_sparse_and_pax(tmp_path: Path) -> None:
    """A folder archived by GNU tar is read, including long and unusual names."""
    name = "ü" * 60 + "/" + "x" * 120 + ".jpg"
    (tmp_path / "f" / name).parent.mkdir(parents=True)
    (tmp_path / "f" / name).write_bytes(b"x")
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(tmp_path / "f", ".")
    assert read_photo(uri(tmp_path / "a.tar", name), 10) == b"x"


def test_host_that_sends_whole_files(site: Site, tmp_path: Path) -> None:
    """An archive at a host without range requests is unreadable, and the message says why."""
    path = make(tmp_path / "a.zip", {"a.jpg": b"a"})
    page = Answer(headers={"Accept-Ranges": "none"}, body=path.read_bytes())
    with pytest.raises(PhotoUnusable, match="only whole files"):
        read_photo(f"zip://a.jpg::{site.page('/a.zip', page)}", 10)


def test_host_that_fails(site: Site, pauses: list[float]) -> None:
    """Reading a remote archive is retried if its host fails; a 404 means missing, without retries."""
    assert reason(f"zip://a.jpg::{site.page('/a.zip', Answer(503))}") == "unreadable"
    assert len(pauses) == 2
    assert reason(f"zip://a.jpg::{site.address}/none.zip") == "missing"
    assert len(pauses) == 2

import json
import os
import shutil
import socket
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest

from catalog.errors import ExportUnreadable, HostFailed, PhotoUnusable
from catalog.exports.export import MANIFEST_COLUMNS, open_export
from catalog.listing import Photo, Rejected
from catalog.photo_files.files import read_photo, source_tag
from tests.support.data.exports import MakeExport, write_csv
from tests.support.servers.web import Answer, Site

ROW = ["p1", "l1", "Bed", "Home / Beds", "£12.00", "", "Leeds", "images/ü #1.jpg"]
BODY = b"a photo"


@pytest.fixture(scope="module")
def s3_address() -> Iterator[str]:
    """An object store on the loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def s3(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator["Bucket"]:
    """An empty bucket, configured like a user's through the environment."""
    from s3fs import S3FileSystem

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": s3_address,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    yield Bucket()
    S3FileSystem.clear_instance_cache()


class Bucket:
    def __init__(self) -> None:
        from s3fs import S3FileSystem

        self.store = S3FileSystem(skip_instance_cache=True)
        self.name = f"bucket-{os.urandom(4).hex()}"
        self.store.mkdir(self.name)

    def put(self, key: str, data: bytes | Path) -> str:
        place = f"{self.name}/{key}"
        if isinstance(data, bytes):
            self.store.pipe_file(place, data)
        else:
            self.store.put(str(data), place, recursive=data.is_dir())
        return f"s3://{place}"


def photos(location: str | Path) -> dict[str, Photo]:
    rows = list(open_export(location).rows())
    assert not [row for row in rows if isinstance(row, Rejected)]
    return {row.photo_id: row for row in rows if isinstance(row, Photo)}


def bodies(location: str | Path) -> dict[str, bytes]:
    """Read the bytes of every photo of an export, by photo id."""
    return {photo_id: read_photo(photo.uri, 1_000_000) for photo_id, photo in photos(location).items()}


def pack(folder: Path, archive: Path, prefix: str = "") -> Path:
    """Pack a folder as zip or tar; all names in the archive begin with `prefix`."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [(path, prefix + path.relative_to(folder).as_posix()) for path in files]
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as out:
            for path, name in names:
                out.write(path, name)
    else:
        with tarfile.open(archive, "w") as tar:
            for path, name in names:
                tar.add(path, name)
    return archive


def refused(location: str | Path) -> ExportUnreadable:
    with pytest.raises(ExportUnreadable) as error:
        open_export(location)
    assert error.value.hint
    return error.value


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("prefix", ["", "./", "export/", "__MACOSX/x/../../my export/"])
def test_archive(make_export: MakeExport, tmp_path: Path, kind: str, prefix: str) -> None:
    """An export in an archive, at its top or in a folder, yields the same listings, bytes and row places."""
    folder = make_export(3, 2)
    (folder / "images" / "l0-0.jpg").rename(folder / "images" / "urn::ü #1.jpg")
    tables = folder / "Images.csv"
    tables.write_text(tables.read_text().replace("l0-0", "urn::ü #1"))
    archive = pack(folder, tmp_path / f"a.{kind}", prefix)
    assert bodies(archive) == bodies(folder)
    assert [(p.photo_id, p.listing, p.row) for p in photos(archive).values()] == [
        (p.photo_id, p.listing, p.row) for p in photos(folder).values()
    ]
    assert open_export(archive).photos == 6


def test_archive_elsewhere(make_export: MakeExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A photo's URI does not depend on the working directory of the process that reads it later."""
    pack(make_export(1, 1), tmp_path / "a.zip")
    monkeypatch.chdir(tmp_path)
    (photo,) = photos("a.zip").values()
    monkeypatch.chdir("/")
    assert photo.uri == f"zip://images/l0-0.jpg::{tmp_path.resolve()}/a.zip"
    assert read_photo(photo.uri, 1_000_000)


def test_archive_and_hostile_ids(make_export: MakeExport, tmp_path: Path) -> None:
    """A photo's id cannot name a file outside its archive, nor another archive."""
    folder = make_export(1, 1)
    secret = make_export(1, 1, name="secret")
    pack(secret, tmp_path / "secret.zip")
    ids = ["../../x", f"../zip://images/l0-0.jpg::{tmp_path}/secret.zip", f"l0-0.jpg::{tmp_path}/secret.zip"]
    write_csv(folder / "Images.csv", ["", "id", "product_id"], [[n, photo_id, "l0"] for n, photo_id in enumerate(ids)])
    first, second, third = open_export(pack(folder, tmp_path / "a.zip")).rows()
    assert isinstance(first, Rejected)
    assert isinstance(second, Rejected)
    assert (first.reason, second.reason) == ("outside_root", "unsupported_address")
    assert isinstance(third, Photo)
    with pytest.raises(PhotoUnusable, match=f"in {tmp_path.resolve()}/a.zip"):
        read_photo(third.uri, 1_000_000)


@pytest.mark.parametrize("name", ["Images.csv", "Products.csv", "images"])
def test_incomplete_archive(make_export: MakeExport, tmp_path: Path, name: str) -> None:
    """A file or folder missing from an export in an archive is named."""
    folder = make_export()
    (folder / name).rename(tmp_path / "elsewhere")
    expected = "no Products.csv" if name == "Products.csv" else f"no {name}"
    assert expected in refused(pack(folder, tmp_path / "a.zip", "export/")).message


def test_two_exports_in_an_archive(make_export: MakeExport, tmp_path: Path) -> None:
    """An archive with two exports is refused: neither is guessed."""
    make_export(name="both/one")
    make_export(name="both/two")
    assert "several" in refused(pack(tmp_path / "both", tmp_path / "a.zip")).message


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "none.zip"])
def test_no_archive(tmp_path: Path, name: str) -> None:
    """A file that is missing, not an archive or not readable in parts is refused with a hint."""
    if name != "none.zip":
        (tmp_path / name).write_bytes(b"x" * 3_000)
    assert name in refused(tmp_path / name).message


def test_archive_with_a_separator_in_its_name(make_export: MakeExport, tmp_path: Path) -> None:
    """An archive whose path would make its photos' URIs ambiguous is refused before anything is stored."""
    assert "which is a separator" in refused(pack(make_export(), tmp_path / "b::c.zip")).message


def test_jsonl(tmp_path: Path) -> None:
    """A manifest in JSON lines yields the same photos as in CSV; a missing key is an empty field."""
    rows = [dict(zip(MANIFEST_COLUMNS, ROW, strict=True)), {"photo_id": 7, "listing_id": "l2", "photo": "b.jpg"}]
    rows.append(rows[1] | {"photo_id": "p3", "price": 12.5, "title": None, "notes": ["x"]})
    (tmp_path / "m.jsonl").write_text("\ufeff" + "\r\n\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    texts = [[str(row.get(name) or "") for name in MANIFEST_COLUMNS] for row in rows]
    write_csv(tmp_path / "m.csv", MANIFEST_COLUMNS, texts)
    assert list(photos(tmp_path / "m.jsonl").values()) == list(photos(tmp_path / "m.csv").values())
    assert open_export(tmp_path / "m.jsonl").photos == 3


@pytest.mark.parametrize(
    "line",
    ["{", '"x"', "[1]", "null", "nonsense", "[" * 100_000, '{"photo_id": 1' + "0" * 5_000 + "}", '{"photo_id": "a" '],
    ids=["cut", "string", "list", "null", "nonsense", "deep", "number", "open"],
)
def test_bad_line(tmp_path: Path, line: str) -> None:
    """A line that is not a JSON object is rejected with its place, and the next row is still read."""
    good = json.dumps(dict(zip(MANIFEST_COLUMNS, ROW, strict=True)))
    (tmp_path / "m.jsonl").write_text(f"{line}\n{good}\n")
    first, second = open_export(tmp_path / "m.jsonl").rows()
    assert isinstance(first, Rejected)
    assert (first.row, first.reason) == ("m.jsonl row 1", "malformed_row")
    assert isinstance(second, Photo)


def test_half_a_character(tmp_path: Path) -> None:
    """Half a surrogate pair, which JSON can contain but no store can hold, is replaced."""
    row = dict(zip(MANIFEST_COLUMNS, ROW, strict=True)) | {"title": "Bed \ud83d", "photo": "\ud83d.jpg"}
    (tmp_path / "m.jsonl").write_text(json.dumps(row))
    (photo,) = photos(tmp_path / "m.jsonl").values()
    assert photo.listing.title == "Bed ?"
    photo.uri.encode()


def test_jsonl_that_is_not_utf8(tmp_path: Path) -> None:
    """JSON lines that are not UTF-8 make the export unreadable."""
    (tmp_path / "m.jsonl").write_bytes('{"title": "ü"}\n'.encode("latin-1"))
    assert "not UTF-8" in refused(tmp_path / "m.jsonl").message


def manifests(folder: Path) -> dict[str, bytes]:
    """Return the same manifest in all three formats, by file name."""
    write_csv(folder / "m.csv", MANIFEST_COLUMNS, [ROW])
    frame = pd.read_csv(folder / "m.csv", dtype=str)
    frame.to_parquet(folder / "m.parquet")
    frame.to_json(folder / "m.jsonl", orient="records", lines=True)
    return {path.name: path.read_bytes() for path in folder.glob("m.*")}


@pytest.mark.parametrize("name", ["m.csv", "m.parquet", "m.jsonl"])
def test_manifest_over_http(site: Site, tmp_path: Path, name: str) -> None:
    """Relative paths start at the manifest's folder, without its query, and are names: # needs no quoting."""
    uri = site.page(f"/d/{name}?key=a/b", manifests(tmp_path)[name])
    site.page("/d/images/%C3%BC%20%231.jpg", BODY)
    assert bodies(uri) == {"p1": BODY}
    assert photos(uri)["p1"].row.startswith(f"{name} row ")


def test_quoted_slashes_do_not_choose_a_folder(site: Site, tmp_path: Path) -> None:
    """Quoted slashes in a manifest's URL, as object stores write them, cannot make its copy overwrite a local file."""
    manifest, mine = manifests(tmp_path)["m.csv"], tmp_path / "mine.csv"
    mine.write_bytes(b"mine")
    for name in (quote(str(mine), safe=""), "..%2Fmine.csv", "exports%2Fmine.csv?alt=media"):
        assert photos(site.page(f"/o/{name}", manifest))["p1"].row.startswith("mine.csv row ")
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["m.csv", "m.parquet", "m.jsonl"])
def test_manifest_in_s3(s3: Bucket, tmp_path: Path, name: str) -> None:
    """A manifest in an object store names photos next to it, whose tags come from the store."""
    uri = s3.put(f"d/{name}", manifests(tmp_path)[name])
    at = s3.put("d/images/ü #1.jpg", BODY)
    (photo,) = photos(uri).values()
    assert (photo.uri, read_photo(photo.uri, 100)) == (at, BODY)
    tag = source_tag(at)
    assert tag
    s3.put("d/images/ü #1.jpg", BODY[::-1])
    assert source_tag(at) != tag


@pytest.mark.parametrize(
    ("photo", "reason"),
    [
        ("../a.jpg", "outside_root"),
        ("/etc/hostname", "outside_root"),
        ("file:///etc/hostname", "unsupported_address"),
        ("zip://a.jpg::/exports/a.zip", "unsupported_address"),
        ("zip://a.jpg::https://h/a.zip", "unsupported_address"),
        ("simplecache::file:///etc/hostname", "unsupported_address"),
        ("https://h/a.jpg::file:///etc/hostname", "unsupported_address"),
    ],
)
@pytest.mark.parametrize("where", ["disk", "http", "s3"])
def test_hostile_manifest(request: pytest.FixtureRequest, tmp_path: Path, where: str, photo: str, reason: str) -> None:
    """A manifest, local or remote, can name no file outside its folder, no local file by URL and no archive member."""
    write_csv(tmp_path / "m.csv", MANIFEST_COLUMNS, [[*ROW[:-1], photo]])
    location: str | Path = tmp_path / "m.csv"
    if where == "http":
        location = request.getfixturevalue("site").page("/d/m.csv", (tmp_path / "m.csv").read_bytes())
    elif where == "s3":
        location = request.getfixturevalue("s3").put("d/m.csv", tmp_path / "m.csv")
    (row,) = open_export(location).rows()
    assert isinstance(row, Rejected)
    assert row.reason == reason


def test_double_colon_in_a_key(s3: Bucket, tmp_path: Path) -> None:
    """A photo name with :: is an ordinary key, and opens no file of this machine."""
    (tmp_path / "secret").write_bytes(b"secret")
    name = f"images/x::file:{tmp_path}/secret"
    write_csv(tmp_path / "m.csv", MANIFEST_COLUMNS, [[*ROW[:-1], name]])
    (photo,) = photos(s3.put("d/m.csv", tmp_path / "m.csv")).values()
    with pytest.raises(PhotoUnusable, match="There is nothing at"):
        read_photo(photo.uri, 100)
    s3.put(f"d/{name}", BODY)
    assert read_photo(photo.uri, 100) == BODY


def test_folder_over_http(site: Site, make_export: MakeExport) -> None:
    """An export folder over http is read by the names of its tables, without listing the folder."""
    folder = make_export(2, 1)
    for path in folder.rglob("*.*"):
        site.page(f"/export/{path.relative_to(folder).as_posix()}", path.read_bytes())
    assert bodies(f"{site.address}/export/") == bodies(folder)
    assert site.requests[:2] == ["GET /export/Products.csv", "GET /export/Images.csv"]


def test_folder_in_s3(s3: Bucket, make_export: MakeExport) -> None:
    """An export folder in an object store yields the same photos; an empty object is empty, a folder is missing."""
    folder = make_export(2, 1)
    assert bodies(s3.put("export", folder)) == bodies(folder)
    for uri, reason in [(s3.put("empty.jpg", b""), "empty"), (f"s3://{s3.name}/export", "missing")]:
        with pytest.raises(PhotoUnusable) as error:
            read_photo(uri, 100)
        assert error.value.reason == reason


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("where", ["http", "s3"])
def test_remote_archive(
    request: pytest.FixtureRequest, make_export: MakeExport, tmp_path: Path, where: str, kind: str
) -> None:
    """A remote archive is read in place, in parts."""
    folder = make_export(3, 1)
    (folder / "images" / "padding.bin").write_bytes(os.urandom(10_000_000))
    archive = pack(folder, tmp_path / f"a.{kind}", "export/")
    if where == "s3":
        location = request.getfixturevalue("s3").put(archive.name, archive)
    else:
        page = Answer(headers={"Accept-Ranges": "bytes", "ETag": '"1"'}, body=archive.read_bytes())
        location = request.getfixturevalue("site").page(f"/{archive.name}", page)
    assert bodies(location) == bodies(folder)
    assert source_tag(next(iter(photos(location).values())).uri)


@pytest.mark.usefixtures("pauses")
def test_unreachable(site: Site, s3: Bucket) -> None:
    """An unreachable export gives an error with its location and a hint, not a traceback."""
    gone = site.page("/gone/m.csv", Answer(410))
    for location in (
        "http://127.0.0.1:1/m.csv",
        "http://127.0.0.1:1/a.zip",
        "http://[oops/m.csv",
        gone,
        f"{site.address}/none/m.parquet",
        f"{site.address}/none/",
        site.page("/busy/m.csv", Answer(503)),
        site.page("/shut/m.csv", Answer(403)),
        "s3://no-such-bucket/m.csv",
        "s3://no-such-bucket/export",
        "s3://no-such-bucket/a.zip",
        "s3://",
        f"s3://{s3.name}/none.jsonl",
    ):
        assert location.rstrip("/") in refused(location).message


def test_store_that_never_answers(s3: Bucket, monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    """An object store that accepts the connection but sends nothing runs into the timeout of each attempt."""
    from s3fs import S3FileSystem

    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{mute.getsockname()[1]}")
        S3FileSystem.clear_instance_cache()
        assert source_tag(f"s3://{s3.name}/a.jpg", 0.3) == ""
        with pytest.raises(HostFailed, match="did not answer in time"):
            read_photo(f"s3://{s3.name}/a.jpg", 100, 0.3)
    assert len(pauses) == 2


@pytest.mark.usefixtures("pauses")
def test_no_credentials(s3: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If credentials are missing, the hint names their environment variables."""
    from s3fs import S3FileSystem

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    S3FileSystem.clear_instance_cache()
    error = refused(f"s3://{s3.name}/m.csv")
    assert "credentials" in error.message
    assert "AWS_ACCESS_KEY_ID" in error.hint


def test_without_s3fs(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the package for object stores is not installed, the error says how to install it."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    # `fsspec.registry` is also a dictionary in the package, so the module comes from sys.modules.
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    assert 'pip install "marketlens[s3]"' in refused("s3://bucket/m.csv").message


@pytest.mark.parametrize(
    "location", ["file:///etc/m.csv", "zip://m.csv::/a.zip", "ftp://h/m.csv", "a::https://h/m.csv"]
)
def test_other_addresses(location: str) -> None:
    """Only URLs of the documented protocols are accepted."""
    assert "not a URL" in refused(location).message


def test_table_that_fails_once(site: Site, tmp_path: Path, pauses: list[float]) -> None:
    """A single failure of the host while the table is copied does not end the run."""
    uri = site.page("/m.csv", Answer(503), manifests(tmp_path)["m.csv"])
    assert len(photos(uri)) == 1
    assert len(pauses) == 1


def test_table_does_not_change_under_the_run(site: Site, tmp_path: Path) -> None:
    """A run reads the version of the table that was opened: it is copied, and deleted together with the export."""
    export = open_export(site.page("/m.csv", manifests(tmp_path)["m.csv"]))
    site.page("/m.csv", Answer(404))
    assert len(list(export.rows())) == export.photos == 1
    (copy,) = export.source.tables
    assert copy.exists()
    del export
    assert not copy.exists()


def test_columns_of_a_copy(site: Site) -> None:
    """If a remote table lacks a column, the error has the table's own name."""
    assert "m.csv has no column photo_id" in refused(site.page("/d/m.csv", b"a,b\n")).message


def test_archive_is_noticed_when_replaced(make_export: MakeExport, tmp_path: Path) -> None:
    """A new archive under the same name is read as a new export."""
    archive = pack(make_export(2, 1), tmp_path / "a.zip")
    before = bodies(archive)
    shutil.rmtree(tmp_path / "export")
    pack(make_export(3, 2), archive)
    assert len(before) == 2
    assert len(bodies(archive)) == 6

import os
import time
from pathlib import Path

import pytest

import ingest.stages.photo_reader
from catalog.listing import Listing, Photo, Rejected, StoredPhoto
from catalog.photo_files.files import read_photo
from catalog.photo_files.hosts import FAILURES_IN_A_ROW
from catalog.stage_timer import StageTimer
from embedding.embedder import Embedder
from ingest.stages.photo_reader import PhotoReader, ReadPhoto
from tests.support.data.pictures import jpeg, picture
from tests.support.servers.web import Answer, Site


def photo(uri: object) -> Photo:
    return Photo("p", Listing("l"), str(uri))


def stored(read: ReadPhoto | Rejected) -> StoredPhoto:
    """Return the record that the store would have after this read."""
    assert isinstance(read, ReadPhoto)
    return StoredPhoto(read.photo, read.sha256, 0, read.source_tag)


def reader(embedder: Embedder) -> PhotoReader:
    return PhotoReader(embedder.preprocess, 1_000_000, StageTimer())


def set_mtime(path: Path, mtime: float) -> None:
    os.utime(path, (mtime, mtime))


def test_an_unchanged_photo_is_not_read(embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A photo is not read if its source says that it has not changed."""
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(picture(1)))
    set_mtime(path, 1_000)
    known = stored(reader(embedder).read(photo(path), None))
    monkeypatch.delattr(ingest.stages.photo_reader, "read_photo")
    again = reader(embedder).read(photo(path), known)
    assert isinstance(again, ReadPhoto)
    assert (again.sha256, again.pixels, stored(again)) == (known.sha256, None, known)


def test_a_photo_that_changes_while_it_is_read(
    embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A photo that changes between reading and embedding is read again in the next run, even without another change."""
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(picture(1)))
    set_mtime(path, 1_000)

    def read_and_change(*arguments: object) -> bytes:
        data = read_photo(*arguments)
        path.write_bytes(jpeg(picture(2)))
        set_mtime(path, 2_000)
        return data

    monkeypatch.setattr(ingest.stages.photo_reader, "read_photo", read_and_change)
    known = stored(reader(embedder).read(photo(path), None))
    monkeypatch.undo()
    again = reader(embedder).read(photo(path), known)
    assert isinstance(again, ReadPhoto)
    assert again.sha256 != known.sha256
    assert again.pixels is not None


def test_without_a_source_tag(embedder: Embedder, tmp_path: Path) -> None:
    """A missing tag never counts as an unchanged tag: a file that has just changed is read each time."""
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(picture(1)))
    set_mtime(path, time.time() + 3600)
    known = stored(reader(embedder).read(photo(path), None))
    assert known.source_tag == ""
    path.write_bytes(jpeg(picture(2)))
    set_mtime(path, time.time() + 3600)
    again = reader(embedder).read(photo(path), known)
    assert isinstance(again, ReadPhoto)
    assert again.pixels is not None


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"<!doctype html><title>Sign in</title>" * 100, "not_an_image"),
        (200, b"", "empty"),
        (204, b"", "empty"),
        (200, b"\xff\xd8\xff\xe0" + b"\0" * 2_000_000, "too_large"),
        (200, jpeg(picture(1))[:-200], "truncated"),
        (404, b"<html>", "missing"),
        (500, b"<html>", "unreadable"),
    ],
    ids=["html", "nothing", "no content", "too long", "cut", "not found", "error"],
)
@pytest.mark.usefixtures("pauses")
def test_bad_host(embedder: Embedder, site: Site, status: int, body: bytes, reason: str) -> None:
    """A bad answer of an image host rejects its photo with the reason; the run continues."""
    row = reader(embedder).read(photo(site.page("/a.jpg", Answer(status, {"Content-Type": "image/jpeg"}, body))), None)
    assert isinstance(row, Rejected)
    assert row.reason == reason


@pytest.mark.usefixtures("pauses")
def test_a_failing_host_is_skipped(embedder: Embedder, site: Site) -> None:
    """A host that fails repeatedly gets no more requests, and its photos are rejected; the next run tries it again."""
    first_run = reader(embedder)
    bad = photo(site.page("/a.jpg", Answer(503)))
    for _ in range(FAILURES_IN_A_ROW):
        first_run.read(bad, None)
    good = photo(site.page("/b.jpg", jpeg(picture(1))))
    requests_before = len(site.requests)
    row = first_run.read(good, None)
    assert isinstance(row, Rejected)
    assert row.reason == "host_unresponsive"
    assert len(site.requests) == requests_before
    assert isinstance(reader(embedder).read(good, None), ReadPhoto)

import os
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from catalog.errors import PhotoUnusable
from catalog.photo_files.files import read_photo, source_tag

BODY = bytes(range(256)) * 2_000
LIMIT = 1_000_000


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        kind, _, value = self.path.strip("/").partition("/")
        self.send_response(int(value) if kind == "status" else 200)
        if kind == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", "0" if kind == "status" else str(len(BODY)))
        if kind == "no_ranges":
            self.send_header("Accept-Ranges", "none")
        self.end_headers()
        if kind == "status" or self.command == "HEAD":
            return
        for start in range(0, len(BODY), 64_000):
            part = BODY[start : start + 64_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if kind == "chunked" else part)
            time.sleep(0.01)  # like a network: a read must not mistake a pause for the end
        if kind == "chunked":
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, *_args: object) -> None:
        """Ignore clients that disconnect once they have read enough."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def reason(uri: str, limit: int = LIMIT) -> str:
    with pytest.raises(PhotoUnusable) as error:
        read_photo(uri, limit)
    return error.value.reason


@pytest.mark.parametrize(
    "name", ["a.jpg", "a b.jpg", "a*b?.jpg", "[x]{y}.jpg", "a#b%20.jpg", "~a.jpg", "🎹:a.jpg", "a.jpg.gz"]
)
def test_file(tmp_path: Path, name: str) -> None:
    """A file is read byte for byte, whatever characters its name has."""
    (tmp_path / name).write_bytes(BODY)
    assert read_photo(str(tmp_path / name), LIMIT) == BODY


def test_file_with_double_colon(tmp_path: Path) -> None:
    """An id such as urn::1 gives an ordinary file name, not a chain of protocols."""
    (tmp_path / "urn::1.jpg").write_bytes(BODY)
    assert read_photo(str(tmp_path / "urn::1.jpg"), LIMIT) == BODY


def test_limit(tmp_path: Path) -> None:
    """A photo of exactly the limit is read; one byte more is too large."""
    (tmp_path / "a.jpg").write_bytes(b"x" * 100)
    assert len(read_photo(str(tmp_path / "a.jpg"), 100)) == 100
    assert reason(str(tmp_path / "a.jpg"), 99) == "too_large"


def test_unusable_files(tmp_path: Path) -> None:
    """A missing file, an empty file and a folder have different reasons."""
    (tmp_path / "empty.jpg").touch()
    assert reason(str(tmp_path / "none.jpg")) == "missing"
    assert reason(str(tmp_path / "empty.jpg")) == "empty"
    assert reason(str(tmp_path)) == "unreadable"


def test_tag_of_a_file(tmp_path: Path) -> None:
    """A file's tag changes only with its size and its time."""
    path = tmp_path / "a.jpg"
    tags = []
    for body, changed in [(b"one", 1_000), (b"one", 1_000), (b"three", 1_000), (b"three", 2_000)]:
        path.write_bytes(body)
        os.utime(path, (changed, changed))
        tags.append(source_tag(str(path)))
    assert tags[0] == tags[1]
    assert len(set(tags)) == 3
    assert all(tags)


@pytest.mark.parametrize("age", [0, -3600])
def test_tag_of_a_file_that_just_changed(tmp_path: Path, age: int) -> None:
    """A file changed just now, or in the future by its clock, has no tag: it may change again within the tick."""
    path = tmp_path / "a.jpg"
    path.write_bytes(BODY)
    os.utime(path, (time.time() - age, time.time() - age))
    assert source_tag(str(path)) == ""


def test_tag_of_nothing(tmp_path: Path) -> None:
    """For a missing file or an invalid URI there is no tag and no error."""
    for uri in (str(tmp_path / "none"), "zip://a.jpg::/none.zip", "tar://a::", "zip://", "foo://x", "a\0b"):
        assert source_tag(uri) == ""


@pytest.mark.parametrize("kind", ["plain", "no_ranges", "chunked"])
def test_http(server: str, kind: str) -> None:
    """A photo is read completely over http, however the server sends it."""
    assert read_photo(f"{server}/{kind}", LIMIT) == BODY
    assert reason(f"{server}/{kind}", 1_000) == "too_large"


@pytest.mark.usefixtures("pauses")
@pytest.mark.parametrize(("status", "code"), [(404, "missing"), (403, "unreadable"), (500, "unreadable")])
def test_http_error(server: str, status: int, code: str) -> None:
    """Only 404 means missing; other statuses mean unreadable."""
    assert reason(f"{server}/status/{status}") == code


@pytest.mark.usefixtures("pauses")
def test_connection_refused() -> None:
    """An unreachable server makes its photos unreadable, not missing, and does not end the run."""
    with socket.socket() as bound:  # bound but not listening, so no other process can use the port meanwhile
        bound.bind(("127.0.0.1", 0))
        assert reason(f"http://127.0.0.1:{bound.getsockname()[1]}/a.jpg") == "unreadable"


@pytest.mark.parametrize(
    "uri",
    [
        "foo://x/a.jpg",
        "sftp://x/a.jpg",
        "github://x/a.jpg",
        "dir://x/a.jpg",
        "reference://x/a.jpg",
        "zip://a.jpg::/none",
    ],
)
def test_other_protocols(uri: str) -> None:
    """A protocol that is unknown, not installed or lacks arguments affects one photo, not the run."""
    assert reason(uri) in {"unreadable", "missing"}

"""Tests that need a real connection: slow and endless bodies, clients that disconnect."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from catalog.settings import ApiSettings, IndexSettings, MilvusSettings, Settings
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from search_api.app import create_app
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport, write_csv
from tests.support.data.models import GatedEngine, fake_embedder
from tests.support.data.pictures import jpeg, picture
from tests.support.paths import ROOT
from tests.support.servers.milvus_server import free_ports
from tests.support.servers.serving import make_app, serving
from tests.support.servers.web import Answer, Site


@pytest.fixture
def photos(make_export: MakeExport, embedder: Embedder, lite: MilvusSettings) -> PhotoCollection:
    """A collection of four listings; the service closes it."""
    photos = PhotoCollection.connect(lite, IndexSettings(), consistency="Session")
    ingest_export(make_export(listings=4), embedder, photos)
    return photos


def app(photos: PhotoCollection, embedder: Embedder, tmp_path: Path, **settings: object):
    fields = {"keys": tmp_path / "keys.json", "recall_seconds": 0} | settings
    return create_app(Settings(api=ApiSettings.model_validate(fields)), embedder, photos)


def upload_request(photo: bytes, length: int | None = None) -> bytes:
    body = b'--X\r\nContent-Disposition: form-data; name="photo"; filename="p"\r\n\r\n' + photo + b"\r\n--X--\r\n"
    head = "POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=X\r\n"
    return f"{head}Content-Length: {length or len(body)}\r\n\r\n".encode() + body


def until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def metrics_text(url: str) -> str:
    return httpx.get(f"{url}/metrics").text


def connect(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", httpx.URL(url).port))


def test_a_slow_body(photos: PhotoCollection, embedder: Embedder, tmp_path: Path) -> None:
    """A body that arrives too slowly gets 408 and a closed connection; other requests are served meanwhile."""
    with serving(app(photos, embedder, tmp_path, receive_seconds=0.5)) as url:
        with connect(url) as slow:
            slow.settimeout(10)
            slow.sendall(upload_request(b"x", length=50_000))
            started = time.monotonic()
            other = httpx.post(f"{url}/v1/search", files={"photo": ("p", jpeg(picture(1)))}, timeout=10)
            assert other.status_code == 200
            answer = b"".join(iter(lambda: slow.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"body_too_slow" in metrics_text(url).encode()
        assert 0.3 < time.monotonic() - started < 5


def test_an_endless_body(photos: PhotoCollection, embedder: Embedder, tmp_path: Path) -> None:
    """Endless chunks are read up to the limit; the response is 413 and the connection is closed."""
    with serving(app(photos, embedder, tmp_path, max_upload_bytes=100_000)) as url:
        with connect(url) as endless:
            endless.settimeout(10)
            head = b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            endless.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
            sent = 0
            answer = b""
            try:
                while sent < 20_000_000:
                    endless.sendall(b"2710\r\n" + b" " * 10_000 + b"\r\n")
                    sent += 10_000
            except OSError:
                pass  # the server has closed
            try:
                answer = endless.recv(65_536)
            except OSError:
                answer = b"HTTP/1.1 413 lost with the reset"
        assert sent < 20_000_000
        assert answer.startswith(b"HTTP/1.1 413")
        assert "body_too_large" in metrics_text(url)


def test_work_for_disconnected_clients_is_dropped(photos: PhotoCollection, tmp_path: Path) -> None:
    """A waiting photo whose client disconnects is never embedded; a client that stays is served."""
    engine = GatedEngine()
    with serving(app(photos, Embedder(fake_embedder().card, engine), tmp_path)) as url:
        first, left, stays = (connect(url) for _ in range(3))
        for number, connection in enumerate((first, left, stays)):
            connection.settimeout(20)
            connection.sendall(upload_request(jpeg(picture(number))))
            if not number:
                assert engine.began.wait(20)
        until(lambda: "marketlens_waiting_photos 2.0" in metrics_text(url))
        left.close()
        until(lambda: "marketlens_waiting_photos 1.0" in metrics_text(url))
        engine.release.set()
        assert first.recv(65_536).startswith(b"HTTP/1.1 200")
        assert stays.recv(65_536).startswith(b"HTTP/1.1 200")
        assert 'status="499"' in metrics_text(url)
        first.close()
        stays.close()
    assert engine.batches == [1, 1]


SERVICE = """
import sys, time
from pathlib import Path
import uvicorn
from catalog.settings import ApiSettings, MilvusSettings, Settings
from embedding.embedder import Embedder
from marketlens.serving import _options
from tests.support.data.models import FakeEngine, fake_embedder
from tests.support.servers.serving import make_app

folder = Path(sys.argv[1])

class Held(FakeEngine):
    def run(self, pixels):
        (folder / "began").touch()
        while not (folder / "release").exists():
            time.sleep(0.02)
        return super().run(pixels)

app = make_app(
    folder / "export", Embedder(fake_embedder().card, Held()), MilvusSettings(uri=str(folder / "milvus.db"))
)
uvicorn.run(app, **_options(Settings(api=ApiSettings(port=int(sys.argv[2])))))
"""


def test_sigterm_lets_answers_end(make_export: MakeExport, tmp_path: Path) -> None:
    """With the options of `marketlens serve`, SIGTERM refuses new connections and completes requests in progress."""
    make_export(listings=4)
    began, release = tmp_path / "began", tmp_path / "release"
    release.touch()
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, "-c", SERVICE, tmp_path, str(port)], cwd=ROOT)

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/readyz").is_success
        except httpx.TransportError:
            assert process.poll() is None
            return False

    def is_shut() -> bool:
        with socket.socket() as new:
            return new.connect_ex(("127.0.0.1", port)) != 0

    try:
        until(answers, 300)
        release.unlink()
        began.unlink()
        with ThreadPoolExecutor(1) as pool:
            photo = {"photo": ("p", jpeg(picture(1)))}
            held = pool.submit(httpx.post, f"{url}/v1/search", files=photo, timeout=300)
            until(began.exists)
            process.terminate()
            until(is_shut)
            release.touch()
            assert held.result().status_code == 200
        assert process.wait(120) in {0, -signal.SIGTERM}
    finally:
        process.kill()
        process.wait()


def test_a_full_queue_says_when_to_come_back(photos: PhotoCollection, tmp_path: Path) -> None:
    """If more uploads wait than allowed, each response is correct or a 503 with Retry-After; the service recovers."""
    engine = GatedEngine()
    with serving(app(photos, Embedder(fake_embedder().card, engine), tmp_path, waiting=4)) as url:
        search = f"{url}/v1/search"

        async def ask_all() -> list[httpx.Response]:
            async with httpx.AsyncClient(timeout=30) as client:
                photo = jpeg(picture(1))
                requests = [asyncio.create_task(client.post(search, files={"photo": ("p", photo)})) for _ in range(20)]
                await asyncio.to_thread(engine.began.wait, 20)
                await asyncio.to_thread(until, lambda: "embed_full" in metrics_text(url))
                engine.release.set()
                return await asyncio.gather(*requests)

        answers = asyncio.run(ask_all())
        refused = [answer for answer in answers if answer.status_code == 503]
        assert {answer.status_code for answer in answers} == {200, 503}
        assert {(answer.json()["code"], answer.headers["retry-after"]) for answer in refused} == {("overloaded", "1")}
        assert httpx.post(search, files={"photo": ("p", jpeg(picture(1)))}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/photos/p1/image", None),
        ("POST", "/v1/search", {"photo_id": "p1", "box": {"x": 0, "y": 0, "width": 0.5, "height": 0.5}}),
    ],
    ids=["shown", "searched by a part"],
)
def test_a_host_of_photos_that_says_nothing(
    site: Site, embedder: Embedder, lite: MilvusSettings, tmp_path: Path, method: str, path: str, body: object
) -> None:
    """While many requests wait for photos of a hanging host, the service answers searches that need no photo."""
    header = ["photo_id", "listing_id", "title", "category", "price", "currency", "location", "photo"]
    uris = [site.page(f"/{number}.jpg", jpeg(picture(number)), Answer(body=site.silence)) for number in range(3)]
    write_csv(tmp_path / "m.csv", header, [[f"p{n}", f"l{n}", "T", "C", "", "", "", uri] for n, uri in enumerate(uris)])
    app = make_app(tmp_path / "m.csv", embedder, lite, recall_seconds=0)
    site.requests.clear()

    async def ask(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            waiting = [asyncio.create_task(client.request(method, path, json=body)) for _ in range(60)]
            await asyncio.to_thread(until, lambda: len(site.requests) >= 16)
            for probe in ("/livez", "/readyz", "/healthcheck"):
                assert (await client.get(probe, timeout=10)).status_code == 200
            found = await client.post("/v1/search", json={"listing_id": "l1"}, timeout=10)
            assert {hit["listing_id"] for hit in found.json()["hits"]} == {"l0", "l2"}
            site.over.set()
            assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {404}

    with serving(app) as url:
        asyncio.run(ask(url))

"""A website on the loopback that records its requests. A page gives its answers in turn, then repeats the last."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """`body` may be a function that writes to the connection itself."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Callable[[BaseHTTPRequestHandler], None] = b""


class Site(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.pages: dict[str, list[Answer]] = {}
        self.requests: list[str] = []
        self.posted: list[bytes] = []
        self.over = threading.Event()  # ends the endless bodies

    def page(self, path: str, *answers: Answer | bytes) -> str:
        self.pages[path] = [Answer(body=answer) if isinstance(answer, bytes) else answer for answer in answers]
        return self.address + path

    def silence(self, _: BaseHTTPRequestHandler) -> None:
        self.over.wait(60)

    def drip(self, handler: BaseHTTPRequestHandler) -> None:
        """Send a byte now and then without end, so that no single wait is long."""
        while not self.over.wait(0.01):
            handler.wfile.write(b"x")

    def flood(self, handler: BaseHTTPRequestHandler) -> None:
        while not self.over.is_set():
            handler.wfile.write(b"x" * 65_536)

    def handle_error(self, *_: object) -> None:
        """Ignore clients that disconnect once they have read enough."""


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.server.posted.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.do_GET()

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        answers = self.server.pages.get(self.path, [Answer(404)])
        answer = answers.pop(0) if len(answers) > 1 and self.command != "HEAD" else answers[0]
        body, status = answer.body, answer.status
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if part and isinstance(body, bytes) and answer.headers.get("Accept-Ranges") == "bytes":
            body, status = body[int(part[1]) : int(part[2]) + 1], 206
        self.send_response(status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if isinstance(body, bytes):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body) if isinstance(body, bytes) else body(self)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def website() -> Iterator[Site]:
    with Site() as site:
        threading.Thread(target=site.serve_forever, args=(0.02,), daemon=True).start()
        yield site
        site.over.set()
        site.shutdown()

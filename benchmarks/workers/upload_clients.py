"""Clients of benchmarks.api: PORT CLIENTS LIMIT PHOTO ... Prints JSON: total seconds, and the timings of each answer.

Uses raw sockets, prepares requests before the clock starts, and imports only the standard library, so it starts fast.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def main() -> None:
    """Upload each photo once and print the timings."""
    port, count, limit = map(int, sys.argv[1:4])
    print(json.dumps(upload_all(port, count, limit, sys.argv[4:])))


def upload_all(port: int, count: int, limit: int, files: Sequence[str]) -> dict[str, object]:
    """Upload all photos; return total seconds, and milliseconds per answer with and without embedding and search."""
    requests = [request_of(Path(file).read_bytes(), limit) for file in files]
    answers: list[dict[str, float]] = []
    todo = iter(requests)
    lock = threading.Lock()

    def client() -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                with lock:
                    request = next(todo, None)
                if request is None:
                    return
                started = time.perf_counter()
                connection.sendall(request)
                body = read_answer(connection)
                total = 1000 * (time.perf_counter() - started)
                stages = json.loads(body)["timings_ms"]
                answers.append({"total": total, "overhead": total - stages["embed"] - stages["search"]})

    started = time.perf_counter()
    with ThreadPoolExecutor(count) as threads:
        for done in [threads.submit(client) for _ in range(count)]:
            done.result()  # raises if an answer was wrong
    return {"seconds": time.perf_counter() - started, "answers": answers}


def request_of(photo: bytes, limit: int) -> bytes:
    """Build a complete HTTP request, as curl -F sends it."""
    body = (
        b'--XX\r\nContent-Disposition: form-data; name="photo"; filename="p.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        + photo
        + b'\r\n--XX\r\nContent-Disposition: form-data; name="request"\r\n\r\n'
        + json.dumps({"limit": limit}).encode()
        + b"\r\n--XX--\r\n"
    )
    head = (
        "POST /v1/search HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: multipart/form-data; boundary=XX\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def read_answer(connection: socket.socket) -> bytes:
    """Read the body of one answer, whose status must be 200."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), data
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65536)
    return body


if __name__ == "__main__":
    main()

"""What the API adds to the engine and Milvus, on the same photos in one run. Prints ratios.

    .venv/bin/python -m benchmarks.api ../shared/listings --uri http://127.0.0.1:19530 [--photos 200] [--model FOLDER]

The catalogue at --uri must have been ingested with the model. The clients are a process of their own with raw sockets
and bodies made before: on a small machine they cost little of what is measured.

(a) one client: searches by uploaded photo, one after the other, beside decode + embed + Milvus called directly
(b) sixteen clients: searches by uploaded photo, beside the embedder alone on full batches of pixels that are in memory
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import uvicorn
from rich.console import Console
from rich.table import Table

from catalog.collection import PhotoCollection
from catalog.exports import open_export
from catalog.filters import SearchFilter
from catalog.listing import Photo
from catalog.settings import ApiSettings, IndexSettings, MilvusSettings, Settings
from embedding.embedder import BATCH, Embedder
from embedding.photos import open_photo
from search_api.app import create_app
from search_api.log import configure

CLIENTS = 16
ROUNDS = 5
LIMIT = 20


def main() -> None:
    """Measure both ways, taking turns, and print what the API adds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export")
    parser.add_argument("--uri", required=True)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--model", type=Path, default=Path("models/marketlens-resnet50"))
    arguments = parser.parse_args()

    rows = open_export(arguments.export).rows()
    files = [Path(row.uri) for row in rows if isinstance(row, Photo)][: arguments.photos]
    embedder = Embedder.load(arguments.model)
    photos = PhotoCollection.connect(MilvusSettings(uri=arguments.uri), IndexSettings())
    photos.require(embedder.fingerprint)
    server, port = start(embedder, photos)
    uploads = [file.read_bytes() for file in files]
    pixels = np.stack([embedder.preprocess(open_photo(upload)) for upload in uploads])

    alone: list[tuple[float, float, float]] = []
    through: list[dict[str, float]] = []
    engine: list[float] = []
    together: list[float] = []
    part = len(uploads) // ROUNDS
    try:
        directly(embedder, photos, uploads[:20])  # warm
        clients(port, files[:20], 1)
        for number in range(ROUNDS):
            chosen = slice(number * part, (number + 1) * part)
            alone += directly(embedder, photos, uploads[chosen])
            through += clients(port, files[chosen], 1)[1]
            started = time.perf_counter()
            for start_at in range(0, len(pixels), BATCH):
                embedder.embed_pixels(pixels[start_at : start_at + BATCH])
            engine.append(len(pixels) / (time.perf_counter() - started))
            seconds, answers = clients(port, files, CLIENTS)
            together.append(len(answers) / seconds)
    finally:
        server.should_exit = True
    show(alone, through, engine, together)


def start(embedder: Embedder, photos: PhotoCollection) -> tuple[uvicorn.Server, int]:
    """Serve in a thread of this process, as `marketlens serve` does in one of its own."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as on a socket that uvicorn opens itself
    log = configure("json")
    log["handlers"]["stderr"] = {"class": "logging.FileHandler", "filename": os.devnull, "formatter": "line"}
    app = create_app(Settings(api=ApiSettings(recall_seconds=0)), embedder, photos)
    server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_config=log))
    threading.Thread(target=server.run, kwargs={"sockets": [listening]}).start()
    while not server.started:
        time.sleep(0.05)
    return server, listening.getsockname()[1]


def directly(embedder: Embedder, photos: PhotoCollection, uploads: Sequence[bytes]) -> list[tuple[float, float, float]]:
    """Decode, embed and search, one photo after the other; milliseconds of each step."""
    spent = []
    for upload in uploads:
        times = [time.perf_counter()]
        pixels = embedder.preprocess(open_photo(upload))[None]
        times.append(time.perf_counter())
        query = embedder.embed_pixels(pixels)
        times.append(time.perf_counter())
        photos.search(query, SearchFilter(), LIMIT)
        times.append(time.perf_counter())
        decode, embed, store = (1000 * (after - before) for before, after in pairwise(times))
        spent.append((decode, embed, store))
    return spent


def clients(port: int, files: Sequence[Path], count: int) -> tuple[float, list[dict[str, float]]]:
    """Upload the photos from so many clients; the seconds that it took, and what each answer said and took."""
    command = [sys.executable, "-m", "benchmarks.api", "clients", str(port), str(count), *map(str, files)]
    answer = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return answer["seconds"], answer["answers"]


def upload_all(port: int, count: int, files: Sequence[str]) -> None:
    """What the process of the clients does."""
    requests = [request_of(Path(file).read_bytes()) for file in files]
    answers: list[dict[str, float]] = []
    todo = iter(requests)
    taking = threading.Lock()

    def client() -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                with taking:
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
            done.result()  # raises where an answer was wrong
    print(json.dumps({"seconds": time.perf_counter() - started, "answers": answers}))


def request_of(photo: bytes) -> bytes:
    """A whole request, as curl -F sends it."""
    body = (
        b'--XX\r\nContent-Disposition: form-data; name="photo"; filename="p.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        + photo
        + b'\r\n--XX\r\nContent-Disposition: form-data; name="request"\r\n\r\n'
        + json.dumps({"limit": LIMIT}).encode()
        + b"\r\n--XX--\r\n"
    )
    head = (
        "POST /v1/search HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: multipart/form-data; boundary=XX\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def read_answer(connection: socket.socket) -> bytes:
    """The body of one answer, which must be a good one."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), data
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65536)
    return body


def show(
    alone: list[tuple[float, float, float]],
    through: list[dict[str, float]],
    engine: list[float],
    together: list[float],
) -> None:
    """Print the figures and what they are judged by."""
    direct = [sum(steps) for steps in alone]
    totals = [answer["total"] for answer in through]
    overhead = [answer["overhead"] for answer in through]
    table = Table(title=f"one client, {len(totals)} photos; {CLIENTS} clients, {ROUNDS} rounds")
    for heading in ("what", "direct", "through the API", "ratio or rest", "wanted"):
        table.add_column(heading, justify="right")
    steps = " + ".join(f"{statistics.median(step):.1f}" for step in zip(*alone, strict=True))
    p50, own_p50 = statistics.median(direct), statistics.median(totals)
    p99, own_p99 = (float(np.percentile(values, 99)) for values in (direct, totals))
    fastest, own_fastest = statistics.median(engine), statistics.median(together)
    table.add_row(
        "p50 ms (decode + embed + Milvus)", f"{p50:.1f} ({steps})", f"{own_p50:.1f}", f"{own_p50 / p50:.2f}", ""
    )
    table.add_row("p99 ms", f"{p99:.1f}", f"{own_p99:.1f}", f"{own_p99 / p99:.2f}", "<= 1.5")
    table.add_row("total less embed less Milvus, p50 ms", "", "", f"{statistics.median(overhead):.1f}", "<= 5")
    table.add_row("photos/s", f"{fastest:.1f}", f"{own_fastest:.1f}", f"{own_fastest / fastest:.2f}", ">= 0.85")
    Console().print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["clients"]:
        upload_all(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    else:
        main()

"""What the API adds to the engine and Milvus, on the same photos in one run. Prints ratios.

    .venv/bin/python -m benchmarks.api ../shared/listings [--uri http://127.0.0.1:19530] [--photos 200] [--model FOLDER]

The catalogue at --uri must have been ingested with the model; without it, a server is started and `--catalogue` photos
are ingested into it, or into Milvus Lite where there is none. The clients are a process of their own with raw sockets
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
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import uvicorn

from benchmarks.report.results import Cell, Table, figure, publish, ratio
from benchmarks.support.milvus_servers import milvus_server
from benchmarks.support.sample_exports import first_rows
from catalog.exports.export import open_export
from catalog.listing import Photo
from catalog.settings import ApiSettings, IndexSettings, MilvusSettings, Settings, shipped_model
from catalog.store.collection import PhotoCollection
from catalog.store.filters import SearchFilter
from embedding.embedder import BATCH, Embedder
from embedding.photos import open_photo
from search_api.app import create_app
from search_api.telemetry.logging import configure

CLIENTS = 16
ROUNDS = 5
LIMIT = 20


def main() -> None:
    """Measure both ways, taking turns, and print what the API adds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export")
    parser.add_argument("--uri", default="")
    parser.add_argument("--catalogue", type=int, default=4_305, help="photos that are ingested without --uri")
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--model", type=Path, default=shipped_model())
    arguments = parser.parse_args()

    rows = open_export(arguments.export).rows()
    files = [Path(row.uri) for row in rows if isinstance(row, Photo)][: arguments.photos]
    with ExitStack() as stack:
        uri = arguments.uri
        if not uri:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="marketlens-bench-")))
            uri = stack.enter_context(milvus_server(folder / "server")) or str(folder / "milvus.db")
            export = first_rows(open_export(arguments.export), arguments.catalogue, folder / "photos", None)
            ingest = ["ingest", export, "--uri", uri, "--model", arguments.model, "--report", folder / "report.json"]
            command = [str(word) for word in (sys.executable, "-m", "marketlens", *ingest)]
            ledger = {"MARKETLENS_INGEST__LEDGER": str(folder / "ledger")}
            subprocess.run(command, check=True, stdout=sys.stderr, env=os.environ | ledger)
        measure(Embedder.load(arguments.model), uri, files)


def measure(embedder: Embedder, uri: str, files: Sequence[Path]) -> None:
    """Both ways, round by round."""
    photos = PhotoCollection.connect(MilvusSettings(uri=uri), IndexSettings())
    photos.require(embedder.fingerprint)
    server, port = start(embedder, photos)
    uploads = [file.read_bytes() for file in files]
    pixels = np.stack([embedder.preprocess(open_photo(upload)) for upload in uploads])

    alone: list[list[tuple[float, float, float]]] = []
    through: list[list[dict[str, float]]] = []
    engine: list[float] = []
    together: list[float] = []
    part = len(uploads) // ROUNDS
    try:
        directly(embedder, photos, uploads[:20])  # warm
        clients(port, files[:20], 1)
        for number in range(ROUNDS):
            chosen = slice(number * part, (number + 1) * part)
            alone.append(directly(embedder, photos, uploads[chosen]))
            through.append(clients(port, files[chosen], 1)[1])
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
        photos.reader.search(query, SearchFilter(), LIMIT)
        times.append(time.perf_counter())
        decode, embed, store = (1000 * (after - before) for before, after in pairwise(times))
        spent.append((decode, embed, store))
    return spent


def clients(port: int, files: Sequence[Path], count: int) -> tuple[float, list[dict[str, float]]]:
    """Upload the photos from so many clients; the seconds that it took, and what each answer said and took."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.workers.upload_clients",
        str(port),
        str(count),
        str(LIMIT),
        *map(str, files),
    ]
    answer = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return answer["seconds"], answer["answers"]


def show(
    alone: list[list[tuple[float, float, float]]],
    through: list[list[dict[str, float]]],
    engine: list[float],
    together: list[float],
) -> None:
    """Print the figures of the rounds and what they are judged by."""
    direct = [[sum(steps) for steps in one] for one in alone]
    totals = [[answer["total"] for answer in one] for one in through]
    rows: list[list[Cell]] = []
    for name, percent, wanted in (("p50 ms", 50, ""), ("p95 ms", 95, ""), ("p99 ms of all rounds", 99, "<= 1.5")):
        # A round is too short for a p99 of its own.
        parts = ([list(chain.from_iterable(ones))] if percent == 99 else ones for ones in (direct, totals))
        own, api = (figure(float(np.percentile(part, percent)) for part in one) for one in parts)
        rows.append([name, own, api, ratio(api, own), wanted])
    for number, step in enumerate(("decode", "embed", "Milvus")):
        rows.append(
            [f"of which {step}", figure(statistics.median(steps[number] for steps in one) for one in alone), "", "", ""]
        )
    rest = figure(statistics.median(answer["overhead"] for answer in one) for one in through)
    rows.append(["total less embed less Milvus, p50 ms", "", rest, "", "<= 5"])
    own, api = figure(engine), figure(together)
    rows.append([f"photos/s, {CLIENTS} clients", own, api, ratio(api, own), ">= 0.85"])
    title = f"{sum(map(len, totals))} searches by one client, {ROUNDS} rounds"
    publish(Table(title, ("what", "direct", "through the API", "ratio", "wanted"), rows))


if __name__ == "__main__":
    main()

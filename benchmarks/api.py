"""Time that the API adds to the engine and Milvus, as ratios on the same photos in one run.

    .venv/bin/python -m benchmarks.api ../shared/listings [--uri http://127.0.0.1:19530] [--photos 200] [--model FOLDER]

The catalogue at --uri must have been ingested with the model. Without --uri, a server is started and `--catalogue`
photos are ingested into it, or into Milvus Lite if no server can start. The clients run in their own process, use raw
sockets and prepare their requests beforehand, so that on a small machine they hardly affect the figures.

(a) one client: consecutive searches by uploaded photo, compared with direct calls of decode, embed and Milvus
(b) sixteen clients: searches by uploaded photo, compared with the embedder alone on full batches of pixels in memory
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
    """Prepare a catalogue, then measure direct calls and the API in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export")
    parser.add_argument("--uri", default="")
    parser.add_argument("--catalogue", type=int, default=4_305, help="photos to ingest without --uri")
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
    """Measure direct calls and the API, round by round."""
    photos = PhotoCollection.connect(MilvusSettings(uri=uri), IndexSettings())
    photos.require(embedder.fingerprint)
    server, port = start(embedder, photos)
    uploads = [file.read_bytes() for file in files]
    pixels = np.stack([embedder.preprocess(open_photo(upload)) for upload in uploads])

    direct: list[list[tuple[float, float, float]]] = []
    single_client: list[list[dict[str, float]]] = []
    engine_rates: list[float] = []
    api_rates: list[float] = []
    part = len(uploads) // ROUNDS
    try:
        search_directly(embedder, photos, uploads[:20])  # warm-up
        run_clients(port, files[:20], 1)
        for number in range(ROUNDS):
            chosen = slice(number * part, (number + 1) * part)
            direct.append(search_directly(embedder, photos, uploads[chosen]))
            single_client.append(run_clients(port, files[chosen], 1)[1])
            started = time.perf_counter()
            for start_at in range(0, len(pixels), BATCH):
                embedder.embed_pixels(pixels[start_at : start_at + BATCH])
            engine_rates.append(len(pixels) / (time.perf_counter() - started))
            seconds, answers = run_clients(port, files, CLIENTS)
            api_rates.append(len(answers) / seconds)
    finally:
        server.should_exit = True
    show(direct, single_client, engine_rates, api_rates)


def start(embedder: Embedder, photos: PhotoCollection) -> tuple[uvicorn.Server, int]:
    """Serve in a thread of this process; return the server and its port."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as uvicorn sets on a socket that it opens
    log = configure("json")
    log["handlers"]["stderr"] = {"class": "logging.FileHandler", "filename": os.devnull, "formatter": "line"}
    app = create_app(Settings(api=ApiSettings(recall_seconds=0)), embedder, photos)
    server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_config=log))
    threading.Thread(target=server.run, kwargs={"sockets": [listening]}).start()
    while not server.started:
        time.sleep(0.05)
    return server, listening.getsockname()[1]


def search_directly(
    embedder: Embedder, photos: PhotoCollection, uploads: Sequence[bytes]
) -> list[tuple[float, float, float]]:
    """Decode, embed and search one photo after the other; return the milliseconds of each step."""
    steps = []
    for upload in uploads:
        times = [time.perf_counter()]
        pixels = embedder.preprocess(open_photo(upload))[None]
        times.append(time.perf_counter())
        query = embedder.embed_pixels(pixels)
        times.append(time.perf_counter())
        photos.reader.search(query, SearchFilter(), LIMIT)
        times.append(time.perf_counter())
        decode, embed, store = (1000 * (after - before) for before, after in pairwise(times))
        steps.append((decode, embed, store))
    return steps


def run_clients(port: int, files: Sequence[Path], count: int) -> tuple[float, list[dict[str, float]]]:
    """Upload the photos from `count` clients; return the seconds in total, and the timings of each answer."""
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
    direct: list[list[tuple[float, float, float]]],
    single_client: list[list[dict[str, float]]],
    engine_rates: list[float],
    api_rates: list[float],
) -> None:
    """Publish the figures of all rounds beside their targets."""
    direct_totals = [[sum(steps) for steps in searches] for searches in direct]
    api_totals = [[answer["total"] for answer in answers] for answers in single_client]
    rows: list[list[Cell]] = []
    for name, percent, target in (("p50 ms", 50, ""), ("p95 ms", 95, ""), ("p99 ms of all rounds", 99, "<= 1.5")):
        # A single round is too short for a p99.
        samples = (
            [list(chain.from_iterable(rounds))] if percent == 99 else rounds for rounds in (direct_totals, api_totals)
        )
        baseline, api = (figure(float(np.percentile(part, percent)) for part in parts) for parts in samples)
        rows.append([name, baseline, api, ratio(api, baseline), target])
    for number, step in enumerate(("decode", "embed", "Milvus")):
        medians = figure(statistics.median(steps[number] for steps in searches) for searches in direct)
        rows.append([f"of which {step}", medians, "", "", ""])
    overhead = figure(statistics.median(answer["overhead"] for answer in answers) for answers in single_client)
    rows.append(["total less embed less Milvus, p50 ms", "", overhead, "", "<= 5"])
    baseline, api = figure(engine_rates), figure(api_rates)
    rows.append([f"photos/s, {CLIENTS} clients", baseline, api, ratio(api, baseline), ">= 0.85"])
    title = f"{sum(map(len, api_totals))} searches by one client, {ROUNDS} rounds"
    publish(Table(title, ("quantity", "direct", "through the API", "ratio", "target"), rows))


if __name__ == "__main__":
    main()

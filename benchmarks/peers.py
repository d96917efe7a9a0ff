"""marketlens compared with other packages, on the same photos and vectors in one run, in turns.

    .venv/bin/python -m benchmarks.peers [../shared/listings] [--embed 300] [--photos 10000 100000] [--rounds 3]

Each peer has its own environment in build/peers, created when missing: its packages from PyPI on top of ours (torch is
5 GB). `make clean` removes them. The embedders decode and embed the same files; only marketlens has trained weights.
The vector stores hold the same vectors, generated as in benchmarks.search, and answer the same queries with the same
filters; recall@10 is relative to an exact comparison with every vector that passes the filter.
"""

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.report.results import Cell, Plot, Table, figure, publish, ratio
from benchmarks.search import Case, Filter, filters, make_case, share_found
from benchmarks.support.milvus_servers import milvus_server
from benchmarks.support.sample_exports import first_rows
from benchmarks.workers.store_peers import CLIENTS
from benchmarks.workers.worker_process import WorkerProcess, rounds
from catalog.exports.export import open_export
from catalog.settings import shipped_model

PEERS = Path("build/peers")
# For each peer: packages that pip installs with their dependencies, and packages that it installs alone.
# clip-retrieval's web server and indexer are not needed, and pin older versions of our packages.
PACKAGES = {
    "clip-retrieval": (["open-clip-torch"], ["clip-retrieval"]),
    "img2vec": ([], ["img2vec-pytorch"]),
    "timm": (["timm"], []),
    "Qdrant": (["qdrant-client"], []),
    "LanceDB": (["lancedb"], []),
}
EMBEDDERS = {
    "student": "student system: torch ResNet50, one photo at a time",
    "marketlens": "marketlens ingest, ResNet50, into Milvus Lite",
    "timm": "timm, ResNet50",
    "img2vec": "img2vec_pytorch, ResNet50",
    "clip-retrieval": "clip-retrieval's reader, open_clip ViT-B/32",
}
STORES = {
    "student": "student system: flat L2, no filters",
    "Lite": "marketlens on Milvus Lite",
    "server": "marketlens on a Milvus server",
    "Qdrant": "Qdrant, local mode",
    "LanceDB": "LanceDB, embedded",
    "FAISS": "raw FAISS, IVF_FLAT",
}
WARM_UP_PHOTOS = 8
FILTERS = ("100 %", "10 %", "1 %", "one category")
progress = Console(stderr=True)


def main() -> None:
    """Measure embedders, if there are photos, and vector stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", nargs="?")
    parser.add_argument("--embed", type=int, default=300, help="photos for the embedders")
    parser.add_argument("--photos", type=int, nargs="+", default=[10_000], help="vectors for the vector stores")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help=f"seconds that {CLIENTS} clients search in a round")
    parser.add_argument("--model", type=Path, default=shipped_model())
    arguments = parser.parse_args()
    if arguments.export:
        measure_embedders(arguments.export, arguments.model.absolute(), arguments.embed, arguments.rounds)
    for count in arguments.photos:
        measure_stores(count, arguments.rounds, arguments.seconds)


def python_of(peer: str) -> str:
    """Return the Python with this peer's packages, installing them once. Raises CalledProcessError if pip fails."""
    if peer not in PACKAGES:
        return sys.executable
    folder = PEERS / peer
    python = folder / "bin" / "python"
    installed = folder / "installed"
    if not installed.exists():
        progress.print(f"Installing {peer} into {folder}, once.")
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True)
        site_packages = Path(sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})["purelib"])
        # Our packages are searched last, so the peer's own versions win.
        (site_packages / "under.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        with_dependencies, without_dependencies = PACKAGES[peer]
        if with_dependencies:
            subprocess.run([*pip, *with_dependencies], check=True)
        if without_dependencies:
            subprocess.run([*pip, "--no-deps", *without_dependencies], check=True)
        installed.touch()
    return str(python.absolute())


def is_available(peer: str) -> bool:
    """Return whether the peer can be measured; print the reason if it cannot."""
    try:
        python_of(peer)
    except subprocess.CalledProcessError as error:
        progress.print(f"Skipping {peer}, which cannot be installed here: {error}")
        return False
    return True


def measure_embedders(export: str, model: Path, count: int, times: int) -> None:
    """Measure photos per second from files on disk."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="marketlens-bench-")))
        first_rows(open_export(export), count, folder / "photos", None)
        first_rows(open_export(export), WARM_UP_PHOTOS, folder / "warm-up", None)
        workers = {}
        for name in filter(is_available, EMBEDDERS):
            workers[name] = stack.enter_context(
                WorkerProcess(python_of(name), "benchmarks.workers.embedder_peers", name, str(model))
            )
            workers[name].ask(str(folder / "warm-up"))
        taken: dict[str, list[float]] = {name: [] for name in workers}
        for name in track(rounds(list(workers), times), "Embedders", console=progress):
            taken[name].append(workers[name].ask(str(folder / "photos")))
    speeds = {name: figure(count / seconds for seconds in taken[name]) for name in workers}
    rows = [
        (EMBEDDERS[name], speed, ratio(speed, speeds["student"]), ratio(speeds["marketlens"], speed))
        for name, speed in speeds.items()
    ]
    columns = ("system", "photos/s", "x student", "marketlens / it")
    note = "Compare only speed: all weights except marketlens' are random. Only marketlens writes into a store as well."
    bars = Plot("Embedders", "", "photos/s", {"photos/s": [(EMBEDDERS[name], speed) for name, speed in speeds.items()]})
    publish(Table(f"Embedders: {count} photos", columns, rows, note, [bars]))


def measure_stores(count: int, times: int, seconds: float) -> None:
    """Measure recall and time of the same searches."""
    case = make_case(count, 512)
    measured = [condition for condition in filters(case) if condition.name in FILTERS]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="marketlens-bench-")))
        for name in ("vectors", "categories", "prices", "queries"):
            np.save(folder / f"{name}.npy", getattr(case, name))
        server = stack.enter_context(milvus_server(folder / "milvus"))
        workers: dict[str, WorkerProcess] = {}
        fill_seconds: dict[str, float] = {}
        for name in track([store for store in STORES if server or store != "server"], "Filling", console=progress):
            if not is_available(name):
                continue
            # Fill one store at a time: each has the machine to itself while it builds its index.
            arguments = (name, str(folder), server if name == "server" else "")
            worker = WorkerProcess(python_of(name), "benchmarks.workers.store_peers", *arguments)
            workers[name] = stack.enter_context(worker)
            fill_seconds[name] = worker.ask({})
        answers: dict[str, dict[str, list[dict[str, Any]]]] = {
            name: {condition.name: [] for condition in measured} for name in workers
        }
        for name in track(rounds(list(workers), times), "Vector stores", console=progress):
            for condition in measured:
                request = {"filter": encode_filter(condition), "seconds": seconds}
                answers[name][condition.name].append(workers[name].ask(request))
    for condition in measured:
        publish(stores_table(case, condition, {name: answers[name][condition.name] for name in workers}, fill_seconds))


def encode_filter(condition: Filter) -> dict[str, float | int | None]:
    """Encode a filter for benchmarks.workers.store_peers."""
    price_below = None if condition.where.price_max is None else condition.where.price_max + 1
    category = int(condition.where.categories[0][1:]) if condition.where.categories else None
    return {"price_below": price_below, "category": category}


def stores_table(
    case: Case, condition: Filter, answers: dict[str, list[dict[str, Any]]], fill_seconds: dict[str, float]
) -> Table:
    """Build the table of one filter, a row for each vector store."""
    p50 = {name: figure(1_000 * float(np.median(run["taken"])) for run in runs) for name, runs in answers.items()}
    rows: list[list[Cell]] = []
    for name, runs in answers.items():
        recalls = figure(share_found(case, condition, run["found"]) for run in runs)
        p99 = figure(1_000 * float(np.percentile(run["taken"], 99)) for run in runs)
        rate = figure(run["rate"] for run in runs)
        fill = f"{fill_seconds[name]:,.0f}"
        rows.append([STORES[name], f"{recalls.median:.3f}", p50[name], p99, rate, ratio(p50[name], p50["FAISS"]), fill])
    columns = ("system", "recall@10", "p50 ms", "p99 ms", f"{CLIENTS} clients: /s", "p50, x FAISS", "fill, s")
    passing = f"{condition.name} pass" if condition.percent else condition.name
    title = f"Vector stores: {len(case.vectors):,} photos, {passing}"
    note = "FAISS and the student system's index are in memory only; filling a server includes 25 s of waiting."
    lines: dict[str, list[tuple[float | str, Any]]] = {"ms": [(STORES[name], value) for name, value in p50.items()]}
    return Table(title, columns, rows, note, [Plot(title, "", "p50 ms", lines)] if condition.percent == 100 else [])


if __name__ == "__main__":
    main()

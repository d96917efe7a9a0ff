"""Other people's packages on the same photos and the same vectors, in one run, taking turns.

    .venv/bin/python -m benchmarks.peers [../shared/listings] [--embed 300] [--photos 10000 100000] [--rounds 3]

Each peer lives in an environment of its own in build/peers, made when it is not there: its packages from PyPI, over
those of ours (torch is 5 GB). `make clean` removes them. The embedders decode and embed the same files; their weights
are random but for ours. The finders keep the same vectors, made as in benchmarks.search, and answer the same queries
under the same filters; recall@10 is against comparing every vector that passes.
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
from benchmarks.workers.worker_process import Way, rounds
from catalog.exports.export import open_export
from catalog.settings import shipped_model

PEERS = Path("build/peers")
# What pip installs for each. clip-retrieval's web server and indexer are not needed, and pin older versions of ours.
PACKAGES = {
    "clip-retrieval": (["open-clip-torch"], ["clip-retrieval"]),
    "img2vec": ([], ["img2vec-pytorch"]),
    "timm": (["timm"], []),
    "Qdrant": (["qdrant-client"], []),
    "LanceDB": (["lancedb"], []),
}
EMBEDDERS = {
    "student": "the student system's way, torch ResNet50, one at a time",
    "marketlens": "marketlens ingest, ResNet50, into Milvus Lite",
    "timm": "timm, ResNet50",
    "img2vec": "img2vec_pytorch, ResNet50",
    "clip-retrieval": "clip-retrieval's reader, open_clip ViT-B/32",
}
FINDERS = {
    "student": "the student system's way: flat L2, no filters",
    "Lite": "marketlens on Milvus Lite",
    "server": "marketlens on a Milvus server",
    "Qdrant": "Qdrant, local mode",
    "LanceDB": "LanceDB, embedded",
    "FAISS": "raw FAISS, IVF_FLAT",
}
WARMING = 8
MEASURED = ("100 %", "10 %", "1 %", "one category")
progress = Console(stderr=True)


def main() -> None:
    """Embedders, where there are photos, and finders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", nargs="?")
    parser.add_argument("--embed", type=int, default=300, help="photos for the embedders")
    parser.add_argument("--photos", type=int, nargs="+", default=[10_000], help="vectors for the finders")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help=f"how long {CLIENTS} clients search in a round")
    parser.add_argument("--model", type=Path, default=shipped_model())
    arguments = parser.parse_args()
    if arguments.export:
        embed(arguments.export, arguments.model.absolute(), arguments.embed, arguments.rounds)
    for count in arguments.photos:
        find(count, arguments.rounds, arguments.seconds)


def python_of(peer: str) -> str:
    """The Python that has this peer's packages; our own for what is ours. Raises CalledProcessError."""
    if peer not in PACKAGES:
        return sys.executable
    place = PEERS / peer
    python = place / "bin" / "python"
    done = place / "installed"
    if not done.exists():
        progress.print(f"Installing {peer} into {place}, once.")
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", place], check=True)
        ours = Path(sysconfig.get_paths(vars={"base": str(place), "platbase": str(place)})["purelib"])
        (ours / "under.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")  # searched last: the peer's own win
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        complete, alone = PACKAGES[peer]
        if complete:
            subprocess.run([*pip, *complete], check=True)
        if alone:
            subprocess.run([*pip, "--no-deps", *alone], check=True)
        done.touch()
    return str(python.absolute())


def installed(peer: str) -> bool:
    """Whether it can be measured; says so when it cannot."""
    try:
        python_of(peer)
    except subprocess.CalledProcessError as error:
        progress.print(f"Without {peer}, which cannot be installed here: {error}")
        return False
    return True


def embed(export: str, model: Path, count: int, times: int) -> None:
    """Photos a second from files on disk."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="marketlens-bench-")))
        first_rows(open_export(export), count, folder / "photos", None)
        first_rows(open_export(export), WARMING, folder / "warming", None)
        ways = {}
        for name in filter(installed, EMBEDDERS):
            ways[name] = stack.enter_context(
                Way(python_of(name), "benchmarks.workers.embedder_peers", name, str(model))
            )
            ways[name].ask(str(folder / "warming"))
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for name in track(rounds(list(ways), times), "Embedders", console=progress):
            taken[name].append(ways[name].ask(str(folder / "photos")))
    speeds = {name: figure(count / seconds for seconds in taken[name]) for name in ways}
    rows = [
        (EMBEDDERS[name], speed, ratio(speed, speeds["student"]), ratio(speeds["marketlens"], speed))
        for name, speed in speeds.items()
    ]
    columns = ("way", "photos/s", "x student", "marketlens / it")
    note = (
        "Weights are random but for marketlens': speed alone. marketlens writes into its store as well, no other does."
    )
    bars = Plot("Embedders", "", "photos/s", {"photos/s": [(EMBEDDERS[name], speed) for name, speed in speeds.items()]})
    publish(Table(f"Embedders: {count} photos", columns, rows, note, [bars]))


def find(count: int, times: int, seconds: float) -> None:
    """Recall and time of the same searches."""
    case = make_case(count, 512)
    measured = [one for one in filters(case) if one.name in MEASURED]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="marketlens-bench-")))
        for name in ("vectors", "looks", "prices", "queries"):
            np.save(folder / f"{name}.npy", getattr(case, name))
        server = stack.enter_context(milvus_server(folder / "milvus"))
        ways: dict[str, Way] = {}
        filled: dict[str, float] = {}
        for name in track([one for one in FINDERS if server or one != "server"], "Filling", console=progress):
            if not installed(name):
                continue
            # One after the other: each has the machine to itself while it builds its index.
            arguments = (name, str(folder), server if name == "server" else "")
            ways[name] = stack.enter_context(Way(python_of(name), "benchmarks.workers.store_peers", *arguments))
            filled[name] = ways[name].ask({})
        answers: dict[str, dict[str, list[dict[str, Any]]]] = {
            name: {one.name: [] for one in measured} for name in ways
        }
        for name in track(rounds(list(ways), times), "Finders", console=progress):
            for one in measured:
                answers[name][one.name].append(ways[name].ask({"passing": passing(one), "seconds": seconds}))
    for one in measured:
        publish(finders_table(case, one, {name: answers[name][one.name] for name in ways}, filled))


def passing(one: Filter) -> dict[str, float | int | None]:
    """A filter in the words of benchmarks.workers.store_peers."""
    below = None if one.where.price_max is None else one.where.price_max + 1
    look = int(one.where.categories[0][1:]) if one.where.categories else None
    return {"below": below, "look": look}


def finders_table(case: Case, one: Filter, answers: dict[str, list[dict[str, Any]]], filled: dict[str, float]) -> Table:
    """One filter, a row for each way."""
    p50 = {name: figure(1_000 * float(np.median(a["taken"])) for a in many) for name, many in answers.items()}
    rows: list[list[Cell]] = []
    for name, many in answers.items():
        recalls = figure(share_found(case, one, answer["found"]) for answer in many)
        p99 = figure(1_000 * float(np.percentile(answer["taken"], 99)) for answer in many)
        rate = figure(answer["rate"] for answer in many)
        filling = f"{filled[name]:,.0f}"
        rows.append(
            [FINDERS[name], f"{recalls.median:.3f}", p50[name], p99, rate, ratio(p50[name], p50["FAISS"]), filling]
        )
    columns = ("way", "recall@10", "p50 ms", "p99 ms", f"{CLIENTS} clients: /s", "p50, x FAISS", "filled in, s")
    title = (
        f"Finders: {len(case.vectors):,} photos, {one.name} pass"
        if one.percent
        else (f"Finders: {len(case.vectors):,} photos, {one.name}")
    )
    note = "FAISS and the student's index are in memory and keep nothing; filling a server includes 25 s of waiting."
    lines: dict[str, list[tuple[float | str, Any]]] = {"ms": [(FINDERS[name], value) for name, value in p50.items()]}
    return Table(title, columns, rows, note, [Plot(title, "", "p50 ms", lines)] if one.percent == 100 else [])


if __name__ == "__main__":
    main()

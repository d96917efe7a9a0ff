"""Worker of benchmarks.ingest: runs one method in its own process, and prints the result as JSON.

python -m benchmarks.workers.ingest_worker JOB
"""

import json
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from catalog.exports.export import Export, open_export
from catalog.listing import Photo
from catalog.memory import peak_bytes
from catalog.runs.report import Report
from catalog.settings import IndexSettings, IngestSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from embedding.model import load_network
from embedding.photos import open_photo
from ingest.engines.local import run_locally
from ingest.run import IngestJob, ingest
from ingest.stages.lazy_model import LazyEmbedder
from marketlens.terminal import FAISS_ADVICE, RAY_ADVICE, filter_stderr


@dataclass(frozen=True)
class Job:
    """What to measure. `method` is one of benchmarks.ingest.METHODS."""

    method: str
    export: str
    model: str
    uri: str

    def to_json(self) -> str:
        """Encode the job for the command line."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Result:
    """Number of photos, seconds, and the peak memory of the process."""

    photos: int
    seconds: float
    peak_mb: float


def main() -> None:
    """Run the job given on the command line."""
    job = Job(**json.loads(sys.argv[1]))
    export = open_export(job.export)
    letter = job.method[0]
    if letter == "a":
        seconds = run_plain(export, Path(job.model))
    elif letter == "b":
        seconds = run_engine(export, Path(job.model))
    else:
        seconds = run_ingest(job, export)
    print(json.dumps(asdict(Result(export.photos, seconds, peak_bytes() / 1e6))))


def run_plain(export: Export, model: Path) -> float:
    """Decode and embed one photo at a time; return the seconds."""
    network, _ = load_network(model)
    uris = _uris(export)
    started = time.perf_counter()
    for uri in uris:
        image = Image.open(uri).convert("RGB").resize((224, 224))
        with torch.no_grad():
            network(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).contiguous()[None])
    return time.perf_counter() - started


def run_engine(export: Export, model: Path) -> float:
    """Run the network alone, on decoded photos; return the seconds."""
    embedder = Embedder.load(model)
    pixels = np.stack([embedder.preprocess(open_photo(Path(uri).read_bytes())) for uri in _uris(export)])
    embedder.embed_pixels(pixels[: embedder.batch])
    started = time.perf_counter()
    embedder.embed_pixels(pixels)
    return time.perf_counter() - started


def run_ingest(job: Job, export: Export) -> float:
    """Read, decode, embed and write into a new collection, with a ledger; return the seconds."""
    alias = f"bench_{time.time_ns()}"
    filter_stderr(RAY_ADVICE if job.method.startswith("d") else FAISS_ADVICE)
    model = LazyEmbedder(Path(job.model))
    if job.method.startswith("c"):
        _ = model.embedder  # load the model before the clock starts
    run: Any = run_locally
    if job.method.startswith("d"):
        from ingest.engines.ray_cluster import run_on_ray

        run = run_on_ray
    folder = Path(tempfile.mkdtemp(prefix="marketlens-bench-"))
    photos = PhotoCollection.connect(
        MilvusSettings(uri=str(folder / "milvus.db") if job.uri.endswith(".db") else job.uri, alias=alias),
        IndexSettings(),
        consistency="Session",
    )
    report = Report(export=job.export)
    try:
        settings = IngestSettings(ledger=folder / "ledger")
        ingest(run, IngestJob(export, model, photos, settings, report, lambda _: None, lambda _: None))
        assert report.written == report.read == export.photos == report.photos, (
            report.read,
            report.written,
            report.photos,
        )
        return report.seconds
    finally:
        photos.close()
        shutil.rmtree(folder)


def _uris(export: Export) -> list[str]:
    return [row.uri for row in export.rows() if isinstance(row, Photo)]


if __name__ == "__main__":
    main()

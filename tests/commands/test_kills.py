"""After kill -9 at any moment, running again gives the same collection as one clean run."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from tests.support.commands import COMMAND, marketlens
from tests.support.data.exports import write_export

pytestmark = pytest.mark.slow

# MARKETLENS_TEST_KILLS=50 for more: each costs a few seconds.
KILLS = int(os.environ.get("MARKETLENS_TEST_KILLS", "4"))
LINES = "data/ledger/*/rows-0*.parquet"


def contents(database: Path) -> tuple[dict[str, str], np.ndarray]:
    photos = PhotoCollection.connect(MilvusSettings(uri=str(database)), IndexSettings(), consistency="Session")
    ids = sorted(photo_id for photo_id, _ in photos.reader.ids())
    stored = photos.reader.stored(ids)
    embeddings = photos.reader.embeddings(ids)
    assert photos.reader.count() == len(ids) == len(set(ids))
    photos.close()
    return {photo_id: record.sha256 + record.photo.listing.title for photo_id, record in stored.items()}, embeddings


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, random_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("clean")
    write_export(folder / "export", 60, 2)
    started = time.monotonic()
    result = marketlens("ingest", folder / "export", "--model", random_model, "--uri", "c.db", cwd=folder)
    assert result.returncode == 0, result.stderr
    (folder / "seconds").write_text(str(time.monotonic() - started))
    return folder


def check_status(status: int, output: str, resume: list[str]) -> None:
    """After a kill the next run succeeds; only --resume may fail, if the killed run had not started."""
    assert status == 0 or (resume and status == 2 and "no stopped run" in output), output


@pytest.mark.parametrize("resume", [False, True])
def test_kill(clean: Path, tmp_path: Path, random_model: Path, resume: bool) -> None:
    """After kills at random moments and a complete run: nothing is lost or duplicated, and the counts are correct."""
    seed = int(os.environ.get("MARKETLENS_TEST_SEED", time.time_ns() % 10_000))
    random = np.random.default_rng(seed)
    print(f"MARKETLENS_TEST_SEED={seed}")
    arguments = ["ingest", str(clean / "export"), "--model", str(random_model), "--uri", "c.db"]
    environment = os.environ | {"MARKETLENS_INGEST__BATCH_SIZE": "16"}
    longest = float((clean / "seconds").read_text())
    resume_option: list[str] = []
    for number in range(KILLS):
        output = tmp_path / f"output-{number}.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [COMMAND, *arguments, *resume_option], cwd=tmp_path, env=environment, stdout=file, stderr=file
            )
        moment = time.monotonic() + random.uniform(0, longest)
        # The first kill comes while the ledger has some, but not all lines.
        while process.poll() is None and not (time.monotonic() > moment if number else any(tmp_path.glob(LINES))):
            time.sleep(0.01)
        process.kill()
        killed = process.wait() == -signal.SIGKILL
        assert killed or number, output.read_text()
        if not killed:
            check_status(process.returncode, output.read_text(), resume_option)
        resume_option = ["--resume"] if resume and killed else []
    result = marketlens(*arguments, *resume_option, cwd=tmp_path, MARKETLENS_INGEST__BATCH_SIZE="16")
    check_status(result.returncode, result.stderr, resume_option)
    if result.returncode:
        result = marketlens(*arguments, cwd=tmp_path, MARKETLENS_INGEST__BATCH_SIZE="16")
        assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "data" / "report.json").read_text())
    assert report["read"] == report["written"] + report["unchanged"] == report["photos"] == 120
    expected, vectors = contents(clean / "c.db")
    found, found_vectors = contents(tmp_path / "c.db")
    assert found == expected
    assert np.allclose(found_vectors, vectors, atol=1e-5)

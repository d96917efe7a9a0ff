"""A process with less memory than it needs."""

import json
import os
import resource
import subprocess
from pathlib import Path

import pytest

from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from tests.faults.helpers import ids_of, lost_and_doubled
from tests.faults.reliability import record
from tests.support.commands import COMMAND, marketlens
from tests.support.data.exports import write_export

LISTINGS = 60


@pytest.mark.parametrize("megabytes", [600, 1_200, 1_600])
def test_ingest(tmp_path: Path, random_model: Path, megabytes: int) -> None:
    """An ingest with little memory works or exits; the next run, with enough memory, completes the catalogue."""
    write_export(tmp_path / "export", LISTINGS)
    arguments = ["ingest", str(tmp_path / "export"), "--model", str(random_model), "--uri", "c.db"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes * 2**20,) * 2)

    starved = subprocess.run(
        [COMMAND, *arguments],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=limit,
        capture_output=True,
        timeout=500,
        check=False,
    )
    if starved.returncode > 0:  # not if the operating system killed it
        assert starved.returncode == 3, starved.stderr
        assert b"not enough memory" in starved.stderr
        assert b"Traceback" not in starved.stderr
    rerun = marketlens(*arguments, cwd=tmp_path)
    assert rerun.returncode == 0, rerun.stderr
    report = json.loads((tmp_path / "data" / "report.json").read_text())
    assert report["read"] == report["written"] + report["unchanged"] == 2 * LISTINGS
    photos = PhotoCollection.connect(MilvusSettings(uri=str(tmp_path / "c.db")), IndexSettings(), consistency="Session")
    lost, doubled = lost_and_doubled(photos, ids_of(LISTINGS))
    photos.close()
    assert (lost, doubled) == (0, 0)
    endings = {0: "it had enough", 3: "it exited with a clear error"}
    ending = endings.get(starved.returncode, f"it was killed by signal {-starved.returncode}")
    record(
        f"ingest with {megabytes:,} MB of memory",
        {
            "promised": "a clear error if possible; a crash has the same effect as a kill: run it again",
            "observed": f"{ending}; the next run had {report['unchanged']} photos unchanged and ended with 120 of 120",
            "lost": lost,
            "doubled": doubled,
            "recovery": "run the same command again",
        },
    )

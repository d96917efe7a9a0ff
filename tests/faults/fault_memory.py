"""A process that gets less memory than it needs."""

import json
import os
import resource
import subprocess
from pathlib import Path

import pytest

from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from tests.faults.books import ids_of, lost_and_doubled
from tests.faults.reliability import record
from tests.support.commands import COMMAND, marketlens
from tests.support.exports import write_export

LISTINGS = 60


@pytest.mark.parametrize("megabytes", [600, 1_200, 1_600])
def test_ingest(tmp_path: Path, random_model: Path, megabytes: int) -> None:
    """It ends, or works; with memory again, the next run completes the catalogue."""
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
    if starved.returncode > 0:  # not where the operating system ended it
        assert starved.returncode == 3, starved.stderr
        assert b"not enough memory" in starved.stderr
        assert b"Traceback" not in starved.stderr
    again = marketlens(*arguments, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    report = json.loads((tmp_path / "data" / "report.json").read_text())
    assert report["read"] == report["written"] + report["unchanged"] == 2 * LISTINGS
    photos = PhotoCollection.connect(MilvusSettings(uri=str(tmp_path / "c.db")), IndexSettings(), consistency="Session")
    lost, doubled = lost_and_doubled(photos, ids_of(LISTINGS))
    photos.close()
    assert (lost, doubled) == (0, 0)
    endings = {0: "it had enough", 3: "it ended and said so"}
    how = endings.get(starved.returncode, f"it was ended by signal {-starved.returncode}")
    record(
        f"ingest with {megabytes:,} MB of memory",
        {
            "promised": "it says so where it can; a crash is as a kill: run it again",
            "observed": f"{how}; the next run had {report['unchanged']} photos unchanged, 120 of 120 at its end",
            "lost": lost,
            "doubled": doubled,
            "recovery": "the same command again",
        },
    )

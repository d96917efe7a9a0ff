"""A build that is killed."""

import signal
import subprocess
import sys
from pathlib import Path

from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from tests.support.data.builds import other_embedder, run
from tests.support.data.exports import write_export
from tests.support.paths import ROOT


def test_a_killed_build_resumes(tmp_path: Path, lite: MilvusSettings) -> None:
    """After kill -9 between two batches, whole batches are stored, and the next run adds the rest."""
    export = write_export(tmp_path / "export", 8, 2)
    killed = subprocess.run([sys.executable, "-c", _KILLED, lite.uri, export], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    photos = PhotoCollection.connect(lite, IndexSettings(), consistency="Session")
    try:
        info = photos.builds.newest()
        assert info.state == "building"
        stored = photos.at(info).reader.count()
        assert 0 < stored < 16
        embedder, engine = other_embedder()
        assert run(photos, info, embedder).embedded == engine.photos == 16 - stored
        photos.builds.promote(photos.builds.newest())
        assert photos.builds.live().name == info.name
    finally:
        photos.close()


_KILLED = """
import os, signal, sys
from pathlib import Path
from catalog.store.collection import PhotoCollection
from catalog.settings import IndexSettings, MilvusSettings
from tests.support.data.models import fake_embedder
from tests.support.data.catalogues import ingest_export
from tests.support.data.builds import new_build, other_embedder, run

photos = PhotoCollection.connect(MilvusSettings(uri=sys.argv[1]), IndexSettings(), consistency="Session")
ingest_export(Path(sys.argv[2]), fake_embedder(), photos)
kill = lambda done: os.kill(os.getpid(), signal.SIGKILL) if done == 8 else None
run(photos, new_build(photos), other_embedder(kill)[0])
"""

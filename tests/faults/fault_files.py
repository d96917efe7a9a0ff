"""Truncated, emptied, overwritten or manipulated files: of Milvus Lite, of the verdicts, of a model."""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from catalog.errors import MarketlensError, ModelBroken, VerdictsUnavailable
from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from catalog.store.filters import SearchFilter
from catalog.verdicts import VerdictStore
from embedding.checkpoint import load_model
from tests.faults.helpers import ids_of, lost_and_doubled
from tests.faults.reliability import record
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport
from tests.support.data.models import fake_embedder, random_copy

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda _: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "overwritten": lambda data: os.urandom(len(data)),
}
QUERY = np.eye(1, 2048, dtype=np.float32)


def connect(path: Path) -> PhotoCollection:
    return PhotoCollection.connect(MilvusSettings(uri=str(path)), IndexSettings(), consistency="Session")


def test_lite(make_export: MakeExport, tmp_path: Path) -> None:
    """Whatever file is damaged: no photo is lost, or the loss is counted, or the store refuses; ingest repairs it."""
    export, original, copy = make_export(listings=20), tmp_path / "original.db", tmp_path / "copy.db"
    photos = connect(original)
    ingest_export(export, fake_embedder(), photos, batch_size=20)
    photos.reader.search(QUERY, SearchFilter(), 1)
    photos.close()
    outcomes: Counter[str] = Counter()
    files = [path.relative_to(original) for path in original.rglob("*") if path.is_file() and path.name != "LOCK"]
    for file in sorted(files):
        for damage in DAMAGES.values():
            shutil.copytree(original, copy)
            (copy / file).write_bytes(damage((original / file).read_bytes()))
            outcomes[state_of(copy)] += 1
            assert ingest_again(export, copy) == (0, 0), file
            shutil.rmtree(copy)
    assert not outcomes["with an unnoticed loss"], outcomes
    record(
        "damaged files of Milvus Lite",
        {
            "promised": "index files are repaired, lost photos are noticed, the export is enough to rebuild everything",
            "observed": ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())),
            "lost": 0,
            "doubled": 0,
            "recovery": "ingest again; if that is refused, move the database away first",
        },
    )


def state_of(database: Path) -> str:
    """Describe what a connection finds in a damaged database of 40 photos."""
    photos = connect(database)
    try:
        found, lost = photos.reader.count(), photos.notes.lost()
        photos.reader.search(QUERY, SearchFilter(), 1)
    except MarketlensError:
        return "refused with a clear error"
    finally:
        photos.close()
    if found == 40:
        return "without loss"
    return "with lost photos that `doctor` counts" if found + lost == 40 else "with an unnoticed loss"


def ingest_again(export: Path, database: Path) -> tuple[int, int]:
    """Ingest into a damaged database, or into a new one if it is refused; count lost and duplicate photos."""
    photos = connect(database)
    try:
        ingest_export(export, fake_embedder(), photos)
    except MarketlensError as error:
        assert "move it away" in error.hint or "index status" in error.hint, error
        photos.close()
        shutil.rmtree(database)
        photos = connect(database)
        ingest_export(export, fake_embedder(), photos)
    try:
        return lost_and_doubled(photos, ids_of(20))
    finally:
        photos.close()


def test_verdicts(tmp_path: Path) -> None:
    """A truncated or overwritten verdict database gives an error; it is not mistaken for an empty one."""
    path = tmp_path / "verdicts.db"
    store = VerdictStore(f"sqlite:///{path}")
    store.migrate()
    store.close()
    data = path.read_bytes()
    for name in ("truncated", "overwritten"):
        path.write_bytes(DAMAGES[name](data))
        store = VerdictStore(f"sqlite:///{path}")
        with pytest.raises(VerdictsUnavailable) as failure:
            store.duplicates()
        assert failure.value.hint
        store.close()
    path.write_bytes(DAMAGES["emptied"](data))
    store = VerdictStore(f"sqlite:///{path}")
    store.migrate()
    store.duplicates()  # an empty file becomes a new database
    store.close()
    record(
        "damaged verdict database",
        {
            "promised": "verdicts respond with 503, searches still work; only a backup restores verdicts",
            "observed": "truncated, overwritten: unavailable, with the reason; emptied: silently replaced by a new one",
            "lost": 0,
            "doubled": 0,
            "recovery": "restore the backup",
        },
    )


def flip_a_bit_of_the_weights(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1_000] ^= 1
    (folder / "model.safetensors").write_bytes(data)


def change_the_card(folder: Path) -> None:
    (folder / "model.json").write_text((folder / "model.json").read_text().replace("bicubic", "bilinear"))


def link_the_card(folder: Path) -> None:
    (folder / "model.json").unlink()
    (folder / "model.json").symlink_to("/etc/passwd")


def enlarge_the_card(folder: Path) -> None:
    os.truncate(folder / "model.json", 20 * 2**30)


def enlarge_the_weights(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 20 * 2**30)


def test_a_manipulated_model(random_model: Path, tmp_path: Path) -> None:
    """A manipulated model folder is refused before it embeds anything, whatever was changed."""
    changes = (
        flip_a_bit_of_the_weights,
        change_the_card,
        link_the_card,
        enlarge_the_card,
        enlarge_the_weights,
    )
    for change in changes:
        folder = random_copy(random_model, tmp_path / change.__name__)
        change(folder)
        with pytest.raises(ModelBroken) as failure:
            load_model(folder)
        assert "root:" not in failure.value.message
        shutil.rmtree(folder)
    record(
        "manipulated model folder",
        {
            "promised": "a folder that does not match its fingerprint is refused; no pickle is read",
            "observed": f"{len(changes)} of {len(changes)} refused: a flipped bit in the weights, a changed word in "
            "the card, a link instead of the card, a card and weights of 20 GB",
            "lost": 0,
            "doubled": 0,
            "recovery": "restore the folder",
        },
    )

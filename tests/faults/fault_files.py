"""Files that were cut, emptied, garbled or poisoned: of Lite, of the verdicts, of a model."""

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
from tests.faults.books import ids_of, lost_and_doubled
from tests.faults.reliability import record
from tests.support.catalogues import ingest_export
from tests.support.exports import MakeExport
from tests.support.models import fake_embedder, random_copy

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda _: b"",
    "cut": lambda data: data[: len(data) // 2],
    "garbled": lambda data: os.urandom(len(data)),
}
QUERY = np.eye(1, 2048, dtype=np.float32)


def connect(path: Path) -> PhotoCollection:
    return PhotoCollection.connect(MilvusSettings(uri=str(path)), IndexSettings(), consistency="Session")


def test_lite(make_export: MakeExport, tmp_path: Path) -> None:
    """Whatever file is damaged: all is there, or that photos are gone is known, or it is said; and ingest mends it."""
    export, whole, copy = make_export(listings=20), tmp_path / "whole.db", tmp_path / "copy.db"
    photos = connect(whole)
    ingest_export(export, fake_embedder(), photos, batch_size=20)
    photos.reader.search(QUERY, SearchFilter(), 1)
    photos.close()
    outcomes: Counter[str] = Counter()
    for file in sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.name != "LOCK"):
        for damage in DAMAGES.values():
            shutil.copytree(whole, copy)
            (copy / file).write_bytes(damage((whole / file).read_bytes()))
            outcomes[looked_at(copy)] += 1
            assert ingested_again(export, copy) == (0, 0), file
            shutil.rmtree(copy)
    assert not outcomes["lost without a word"], outcomes
    record(
        "damaged files of Milvus Lite",
        {
            "promised": "index files are mended, lost photos are noticed, the export is enough to build all again",
            "observed": ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())),
            "lost": 0,
            "doubled": 0,
            "recovery": "ingest again; where that is refused, move the database away first",
        },
    )


def looked_at(database: Path) -> str:
    photos = connect(database)
    try:
        found, lost = photos.reader.count(), photos.notes.lost()
        photos.reader.search(QUERY, SearchFilter(), 1)
    except MarketlensError:
        return "refused in words"
    finally:
        photos.close()
    if found == 40:
        return "without harm"
    return "with photos gone, counted by `doctor`" if found + lost == 40 else "lost without a word"


def ingested_again(export: Path, database: Path) -> tuple[int, int]:
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
    """A database of verdicts that is cut or garbled says so; it is not taken for an empty one."""
    path = tmp_path / "verdicts.db"
    store = VerdictStore(f"sqlite:///{path}")
    store.migrate()
    store.close()
    data = path.read_bytes()
    for name in ("cut", "garbled"):
        path.write_bytes(DAMAGES[name](data))
        store = VerdictStore(f"sqlite:///{path}")
        with pytest.raises(VerdictsUnavailable) as failure:
            store.duplicates()
        assert failure.value.hint
        store.close()
    path.write_bytes(DAMAGES["emptied"](data))
    store = VerdictStore(f"sqlite:///{path}")
    store.migrate()
    store.duplicates()  # a new one
    store.close()
    record(
        "damaged database of verdicts",
        {
            "promised": "verdicts answer 503, searches go on; a backup alone brings verdicts back",
            "observed": "cut, garbled: unavailable, with the reason; emptied it is a new one, without a word",
            "lost": 0,
            "doubled": 0,
            "recovery": "put the backup back",
        },
    )


def weights(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1_000] ^= 1
    (folder / "model.safetensors").write_bytes(data)


def card(folder: Path) -> None:
    (folder / "model.json").write_text((folder / "model.json").read_text().replace("bicubic", "bilinear"))


def link(folder: Path) -> None:
    (folder / "model.json").unlink()
    (folder / "model.json").symlink_to("/etc/passwd")


def huge_card(folder: Path) -> None:
    os.truncate(folder / "model.json", 20 * 2**30)


def huge_weights(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 20 * 2**30)


def test_a_poisoned_model(random_model: Path, tmp_path: Path) -> None:
    """A model folder that somebody changed is refused before it embeds anything, whatever was changed."""
    poisons = (weights, card, link, huge_card, huge_weights)
    for poison in poisons:
        folder = random_copy(random_model, tmp_path / poison.__name__)
        poison(folder)
        with pytest.raises(ModelBroken) as failure:
            load_model(folder)
        assert "root:" not in failure.value.message
        shutil.rmtree(folder)
    record(
        "poisoned model folder",
        {
            "promised": "a folder that is not what its fingerprint says is refused; no pickle is read",
            "observed": f"{len(poisons)} of {len(poisons)} refused: a bit of the weights, a word of the card, a link "
            "for a card, a card and weights of 20 GB",
            "lost": 0,
            "doubled": 0,
            "recovery": "restore the folder",
        },
    )

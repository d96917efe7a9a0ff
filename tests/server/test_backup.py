"""A backup contains a complete catalogue, and can be restored into any Milvus, Lite or a server."""

import json
import resource
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from catalog.errors import (
    BackupBroken,
    BuildRefused,
    MarketlensError,
    ModelMismatch,
    NotFound,
    OutputFailed,
    StoreFailed,
    StoreUnreachable,
)
from catalog.listing import Embeddings, Listing, StoredPhoto
from catalog.progress import Advance, silent
from catalog.settings import MilvusSettings, Settings
from catalog.store import reader
from catalog.store.collection import PhotoCollection
from catalog.store.filters import SearchFilter
from catalog.store.reader import CollectionReader
from catalog.store.writer import CollectionWriter
from catalog.verdicts import Decision, Duplicate, Verdict, VerdictStore, WrongCategory
from marketlens.backup import photo_tables as parquet
from marketlens.backup.manifest import MANIFEST, check_files, read_manifest
from marketlens.backup.writer import make_backup
from tests.support.commands import RunHere, assert_failed
from tests.support.data.backups import back_up, open_photos, restore_backup, settings_of
from tests.support.data.exports import MakeExport
from tests.support.data.models import fake_card
from tests.support.data.vectors import DIM, MODEL, stored, unit_vectors
from tests.support.servers.milvus_server import free_ports
from tests.support.servers.postgres_server import new_database, running_postgres

PHOTOS = 2_345
CHANGED_AT = 1_700_000_123

Place = Callable[[str, str], Settings]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Create the settings of a separate machine, on `lite` or `server`."""

    def make(name: str, kind: str) -> Settings:
        home = tmp_path / name
        milvus = MilvusSettings(uri=str(home / "milvus.db"))
        if kind == "server":
            uri = request.getfixturevalue("milvus_server")
            milvus = MilvusSettings(uri=uri, alias=f"photos_{uuid.uuid4().hex[:8]}")
        return settings_of(home, milvus)

    return make


def write_model(folder: Path, fingerprint: str = MODEL) -> None:
    """Write a folder that looks like a model; no test embeds with it."""
    (folder / "plots").mkdir(parents=True)
    (folder / "model.json").write_text(fake_card(fingerprint).model_dump_json())
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "plots" / "curve.png").write_bytes(b"a curve")


def some_photos(settings: Settings, count: int) -> list[StoredPhoto]:
    """Return records; every tenth was uploaded through the API, the fourth has unusual texts."""
    photos = [stored(number) for number in range(count)]
    for number in range(0, count, 10):
        path = settings.api.photos.absolute() / "ab" / f"{number}.jpg"
        photos[number] = replace(photos[number], photo=replace(photos[number].photo, uri=str(path)))
    odd = Listing('l"3\\', "Sofa 🛋️\nnew\ttab 'quoted' \"twice\"", "Home", "", None, "", "Zürich, 東京", 1_600_000_000)
    photos[3] = replace(stored(3, odd), source_tag="W/x", ingested_at=0)
    return photos


def write_catalogue(settings: Settings, count: int = PHOTOS) -> None:
    """Write a catalogue with everything that a backup includes."""
    photos = some_photos(settings, count)
    with open_photos(settings) as collection:
        info = collection.ensure(MODEL, DIM, model=str(settings.model.path))
        collection.writer.upsert(photos, unit_vectors(count))
        collection.notes.end_changes(CHANGED_AT)
    write_model(settings.model.path)
    for upload in photos[::10]:
        path = Path(upload.photo.uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())
    run = settings.ingest.ledger / "20260101T000000Z-abcdef"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    (run / "rows.parquet").write_bytes(b"rows")
    (run / "rows-000001.parquet.part").write_bytes(b"half")
    insights = settings.insights.folder / info.name
    (insights / "run").mkdir(parents=True)
    (insights / "insights.json").write_text(json.dumps({"collection": info.name, "photos": count}))
    (insights / "run" / "photos.parquet").write_bytes(b"found")
    settings.check.golden.mkdir()
    (settings.check.golden / f"{info.name}.parquet").write_bytes(b"golden")
    decide(settings, "accept")


def decide(settings: Settings, decision: Decision) -> None:
    with closing(VerdictStore(settings.verdicts.url.get_secret_value())) as store:
        store.decide(WrongCategory("l1", "Other", "Home"), "skip")
        store.decide(Duplicate.of(["l2", "l1"]), decision, "Größe 🚲\n'x'", "anna")
        store.decide(WrongCategory("l1", "Other", "Home"), "reject", "\u2028 looked again")


def verdicts_of(settings: Settings) -> list[Verdict]:
    with closing(VerdictStore(settings.verdicts.url.get_secret_value())) as store:
        return [replace(verdict, verdict_id=0) for verdict in store.all_verdicts()]


def contents(photos: PhotoCollection) -> tuple[dict[str, StoredPhoto], Embeddings]:
    """Return every record, and the embeddings in the order of their ids."""
    photos.reader.wait_for_scan_lag()
    records = {record.photo.photo_id: record for batch in photos.reader.records() for record in batch}
    ids = sorted(records)
    vectors = np.concatenate(
        [photos.reader.embeddings(ids[start : start + 1000]) for start in range(0, len(ids), 1000)]
    )
    return records, vectors


def use_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Split the 2,345 photos into three batches and three files."""
    monkeypatch.setattr(reader, "_VECTORS_PER_BATCH", 1_000)
    monkeypatch.setattr(parquet, "FILE_ROWS", 1_000)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def require_same(here: Settings, there: Settings, count: int = PHOTOS) -> None:
    """Require that the catalogue at `there` equals the one at `here`."""
    expected = {record.photo.photo_id: record for record in some_photos(there, count)}
    order = sorted(range(count), key=lambda number: f"p{number}")
    with open_photos(there) as photos:
        records, vectors = contents(photos)
        info = photos.builds.live()
        assert (photos.reader.count(strong=True), photos.notes.lost(), photos.notes.changed_at()) == (
            count,
            0,
            CHANGED_AT,
        )
        near = photos.reader.search(unit_vectors(count)[7:8], SearchFilter(categories=("Home",)), 3).hits
    assert records == expected
    assert np.array_equal(vectors, unit_vectors(count)[order])
    assert (near[0].photo_id, near[0].score) == ("p7", pytest.approx(1.0, abs=1e-4))
    assert (info.fingerprint, info.state, info.model) == (MODEL, "ready", str(there.model.path))
    assert verdicts_of(there) == verdicts_of(here)
    assert [verdict.decision for verdict in verdicts_of(there)] == ["accept", "reject"]
    assert files_in(there.model.path) == files_in(here.model.path)
    assert files_in(there.api.photos) == files_in(here.api.photos)
    assert set(files_in(there.ingest.ledger)) == {
        f"20260101T000000Z-abcdef/{name}" for name in ("run.json", "rows.parquet")
    }
    insights = there.insights.folder / info.name
    assert json.loads((insights / "insights.json").read_text()) == {"collection": info.name, "photos": count}
    assert (insights / "run" / "photos.parquet").read_bytes() == b"found"
    assert (there.check.golden / f"{info.name}.parquet").read_bytes() == b"golden"


@pytest.mark.parametrize("direction", ["lite-lite", "lite-server", "server-lite"])
def test_round_trip(place: Place, tmp_path: Path, direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup restores every record and embedding bit for bit, all verdicts and all files on another machine."""
    use_small_parts(monkeypatch)
    here, there = (place(name, kind) for name, kind in zip(("here", "there"), direction.split("-"), strict=True))
    write_catalogue(here)
    manifest = back_up(here, tmp_path / "backup")
    assert (manifest.photos, manifest.verdicts, manifest.changed_meanwhile) == (PHOTOS, 2, False)
    assert len(list((tmp_path / "backup" / "photos").iterdir())) == 3
    restored = restore_backup(tmp_path / "backup", there)
    assert (restored.verdicts, restored.model_files, restored.uploads) == (2, 3, PHOTOS // 10 + 1)
    require_same(here, there)


def test_a_catalogue_without_extras(place: Place, tmp_path: Path) -> None:
    """A backup of only photos and model, without verdicts, ledger or insights, can be restored as well."""
    here, there = place("here", "lite"), place("there", "lite")
    with open_photos(here) as photos:
        photos.ensure(MODEL, DIM)
        photos.writer.upsert([stored(0)], unit_vectors(1))
    write_model(here.model.path)
    back_up(here, tmp_path / "backup")
    restore_backup(tmp_path / "backup", there)
    with open_photos(there) as photos:
        assert contents(photos)[0] == {"p0": stored(0)}
    assert not there.ingest.ledger.exists()


@pytest.mark.slow
def test_verdicts_in_postgresql(place: Place, tmp_path: Path) -> None:
    """Verdicts move from SQLite to PostgreSQL and back; new ones there get later ids."""
    with running_postgres() as address:
        url = new_database(address, "restored")
        here, there, back = (place(name, "lite") for name in ("here", "there", "back"))
        there = there.model_copy(update={"verdicts": there.verdicts.model_validate({"url": url})})
        write_catalogue(here, 20)
        back_up(here, tmp_path / "one")
        restore_backup(tmp_path / "one", there)
        require_same(here, there, 20)
        with closing(VerdictStore(url)) as store:
            made = store.decide(Duplicate.of(["x", "y"]), "skip")
            assert store.page(1)[0] == [made]
            store.withdraw(made.verdict_id)
        back_up(there, tmp_path / "two")
        restore_backup(tmp_path / "two", back)
        require_same(here, back, 20)


@pytest.fixture
def backup(place: Place, tmp_path: Path) -> Path:
    """A backup of twenty photos."""
    here = place("here", "lite")
    write_catalogue(here, 20)
    back_up(here, tmp_path / "backup")
    return tmp_path / "backup"


def damage(backup: Path, name: str) -> None:
    path = backup / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def edit(backup: Path, **fields: object) -> None:
    manifest = json.loads((backup / MANIFEST).read_text())
    (backup / MANIFEST).write_text(json.dumps(manifest | fields))


@pytest.mark.parametrize(
    ("harm", "error", "words"),
    [
        (lambda backup: damage(backup, "photos/00000.parquet"), BackupBroken, "00000.parquet has changed"),
        (lambda backup: damage(backup, "verdicts.jsonl"), BackupBroken, "verdicts.jsonl has changed"),
        (lambda backup: (backup / "model" / "model.safetensors").unlink(), BackupBroken, "model.safetensors cannot be"),
        (lambda backup: (backup / MANIFEST).unlink(), NotFound, "There is no backup in"),
        (lambda backup: (backup / MANIFEST).write_bytes(b"{"), BackupBroken, "is invalid"),
        (lambda backup: edit(backup, format=2), BackupBroken, "format"),
        (lambda backup: edit(backup, files={"uploads/../../x": ""}), BackupBroken, "not a path inside a backup"),
    ],
    ids=["photos", "verdicts", "missing", "no-manifest", "cut-manifest", "newer", "outside"],
)
def test_a_damaged_or_altered_backup_is_refused(
    backup: Path, place: Place, harm: Callable[[Path], None], error: type[MarketlensError], words: str
) -> None:
    """The error names a changed, missing or unknown file and has a hint; nothing is written."""
    harm(backup)
    there = place("there", "lite")
    with pytest.raises(error, match=words) as raised:
        restore_backup(backup, there)
    assert raised.value.hint
    assert not there.model.path.parent.exists()


def test_another_model_is_refused(place: Place, backup: Path, tmp_path: Path) -> None:
    """A backup needs the collection's model, and is not restored over another model."""
    here, there = place("here", "lite"), place("there", "lite")
    other = here.model_copy(update={"model": here.model.model_validate({"path": tmp_path / "other"})})
    write_model(other.model.path, "0c" * 32)
    with pytest.raises(ModelMismatch):
        back_up(other, tmp_path / "wrong")
    assert not list(tmp_path.glob("wrong*"))
    write_model(there.model.path, "0c" * 32)
    with pytest.raises(ModelMismatch, match="made with abab") as raised:
        restore_backup(backup, there)
    assert "--model" in raised.value.hint
    with open_photos(there) as photos:
        assert photos.builds.all() == []


@pytest.mark.parametrize("kind", ["lite", "server"])
def test_an_existing_catalogue(place: Place, backup: Path, kind: str) -> None:
    """A live catalogue is not touched; with `replace` the backup replaces it in one step, and rollback undoes that."""
    there = place("there", kind)
    with open_photos(there) as photos:
        photos.ensure("0c" * 32, DIM)
        photos.writer.upsert([stored(1_000)], unit_vectors(1))
        before = photos.builds.live()
    decide(there, "reject")
    own = verdicts_of(there)
    with pytest.raises(BuildRefused, match="There is already a catalogue") as raised:
        restore_backup(backup, there)
    assert "--replace" in raised.value.hint
    restored = restore_backup(backup, there, replace=True)
    assert restored.verdicts == 0
    assert verdicts_of(there) == own
    with open_photos(there) as photos:
        assert photos.builds.live().name == restored.info.name
        assert photos.reader.count(strong=True) == 20
        assert photos.builds.rollback() == before
        assert list(contents(photos.at(before))[0]) == ["p1000"]


def test_verdicts_are_never_mixed(place: Place, backup: Path) -> None:
    """If the target has other verdicts, nothing is written, and the hint says what to do."""
    there = place("there", "lite")
    decide(there, "reject")
    own = verdicts_of(there)
    with pytest.raises(OutputFailed, match="2 verdicts in sqlite") as raised:
        restore_backup(backup, there)
    assert "MARKETLENS_VERDICTS__URL" in raised.value.hint
    assert verdicts_of(there) == own
    assert not there.api.photos.exists()


KILLED_AT = """
import os, signal, sys
from contextlib import contextmanager
from pathlib import Path
from catalog.store.builds import Builds
from catalog.settings import MilvusSettings
from tests.support.data import backups
from tests.support.data.backups import back_up, restore_backup, settings_of

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

@contextmanager
def until_half(title, total):
    done = 0
    def advance(count):
        nonlocal done
        done += count
        if 2 * done > total:
            die()
    yield advance

what, backup, home, uri, alias, moment = sys.argv[1:]
if moment == "half":
    backups.silent = until_half
else:
    setattr(Builds, moment, die)
settings = settings_of(Path(home), MilvusSettings(uri=uri, alias=alias))
back_up(settings, Path(backup)) if what == "backup" else restore_backup(Path(backup), settings)
"""


def run_and_kill(what: str, backup: Path, settings: Settings, moment: str) -> None:
    """Back up or restore in a process that kills itself with SIGKILL at this moment."""
    home, milvus = settings.model.path.parent, settings.milvus
    arguments = [what, str(backup), str(home), milvus.uri, milvus.alias, moment]
    done = subprocess.run([sys.executable, "-c", KILLED_AT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["half", "finish", "go_live"])
@pytest.mark.parametrize("kind", ["lite", "server"])
def test_a_killed_restore(
    place: Place, tmp_path: Path, kind: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill -9 at any moment leaves no catalogue; the same command again restores the complete one."""
    use_small_parts(monkeypatch)
    here, there = place("here", "lite"), place("there", kind)
    write_catalogue(here)
    back_up(here, tmp_path / "backup")
    run_and_kill("restore", tmp_path / "backup", there, moment)
    with open_photos(there) as photos, pytest.raises(MarketlensError, match="no catalogue"):
        photos.builds.live()
    restore_backup(tmp_path / "backup", there)
    require_same(here, there)
    with open_photos(there) as photos:
        # A build that only lacked the alias is kept: `index drop` removes it.
        assert len(photos.builds.all()) == (2 if moment == "go_live" else 1)


def test_a_killed_backup_is_not_a_backup(place: Place, tmp_path: Path) -> None:
    """A kill -9 leaves a folder that restore refuses; the same command again makes a backup."""
    here = place("here", "lite")
    write_catalogue(here)
    run_and_kill("backup", tmp_path / "backup", here, "half")
    assert [path.name for path in tmp_path.glob("backup*")] == ["backup.part"]
    with pytest.raises(NotFound, match="no backup") as raised:
        read_manifest(tmp_path / "backup.part")
    assert "incomplete" in raised.value.hint
    back_up(here, tmp_path / "backup")
    check_files(tmp_path / "backup", read_manifest(tmp_path / "backup"), lambda _: None)
    with pytest.raises(OutputFailed, match="exists already"):
        back_up(here, tmp_path / "backup")


def test_changes_during_a_backup(place: Place, tmp_path: Path) -> None:
    """A listing that is put while photos are read is not an error; the manifest records that it may be missing."""
    here = place("here", "lite")
    write_catalogue(here)
    with open_photos(here) as photos:

        def put(_: int) -> None:
            with photos.writer.change_listing("new") as change:
                change.write([stored(9_999, Listing("new"))], unit_vectors(1))

        @contextmanager
        def changing_progress(_: str, __: int) -> Iterator[Advance]:
            yield put

        manifest = make_backup(photos, here, tmp_path / "backup", changing_progress)
    assert manifest.changed_meanwhile
    assert manifest.photos in {PHOTOS, PHOTOS + 1}
    there = place("there", "lite")
    restore_backup(tmp_path / "backup", there)
    with open_photos(there) as photos:
        assert photos.reader.count() == manifest.photos


def test_an_incomplete_scan_is_refused(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of photos read must equal the number stored."""
    use_small_parts(monkeypatch)
    here = place("here", "lite")
    write_catalogue(here)
    rows = CollectionReader.rows
    monkeypatch.setattr(CollectionReader, "rows", lambda self: list(rows(self))[1:])
    with pytest.raises(StoreFailed, match="holds 2,345 photos, but 1,345"):
        back_up(here, tmp_path / "backup")
    assert not list(tmp_path.glob("backup*"))


@pytest.mark.parametrize("wrong", ["fewer", "record", "embedding"])
def test_an_incorrect_restore_is_not_promoted(
    place: Place, backup: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """If the store loses a photo, or stores another record or embedding, restore detects it and leaves nothing."""
    upsert = CollectionWriter.upsert

    def upsert_wrongly(self: PhotoCollection, photos: list[StoredPhoto], embeddings: Embeddings) -> None:
        if wrong == "fewer":
            photos, embeddings = photos[1:], embeddings[1:]
        elif wrong == "record":
            photos = [*photos[:-1], replace(photos[-1], sha256="")]
        else:
            embeddings = np.concatenate([embeddings[:-1], unit_vectors(1, seed=5)])
        upsert(self, photos, embeddings)

    monkeypatch.setattr(CollectionWriter, "upsert", upsert_wrongly)
    there = place("there", "lite")
    with pytest.raises(StoreFailed, match="holds 19 photos" if wrong == "fewer" else "another photo 'p"):
        restore_backup(backup, there)
    with open_photos(there) as photos:
        assert photos.builds.all() == []
    monkeypatch.undo()
    restore_backup(backup, there)


def test_an_unavailable_milvus(
    place: Place, backup: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A restore waits for Milvus; after `wait_seconds` it ends with an error, and a second try succeeds."""
    upsert, away = CollectionWriter.upsert, iter([True, False])

    def unreliable_upsert(self: PhotoCollection, photos: list[StoredPhoto], embeddings: Embeddings) -> None:
        if next(away):
            raise StoreUnreachable("No Milvus answers.", hint="Is it running?")
        upsert(self, photos, embeddings)

    monkeypatch.setattr(CollectionWriter, "upsert", unreliable_upsert)
    restore_backup(backup, place("there", "lite"))
    assert "Retrying for up to" in capsys.readouterr().out
    there, away = place("other", "lite"), iter([True, True])
    there.ingest.wait_seconds = 0
    with pytest.raises(StoreUnreachable):
        restore_backup(backup, there)
    monkeypatch.undo()
    restore_backup(backup, there)


def test_a_full_disk(place: Place, tmp_path: Path) -> None:
    """The error says what could not be written and why; no partial backup is left."""
    here = place("here", "lite")
    write_catalogue(here)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_photos(here) as photos:
        try:
            # Instead of filling a disk, limit the size of files: the same calls raise.
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
            with pytest.raises(OutputFailed, match=r"could not be written: .*File too large") as raised:
                make_backup(photos, here, tmp_path / "backup", silent)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "room" in raised.value.hint
    assert not list(tmp_path.glob("backup*"))


def test_the_commands(tmp_path: Path, make_export: MakeExport, random_model: Path, run_here: RunHere) -> None:
    """After ingest, backup and restore elsewhere, a search finds the same listings. A backup contains no API key."""
    environment = {
        "MARKETLENS_MODEL__PATH": str(random_model),
        "MARKETLENS_VERDICTS__URL": "sqlite:///data/verdicts.db",
    }
    home, other = tmp_path / "home", tmp_path / "other"
    home.mkdir()
    other.mkdir()
    export = make_export(listings=6)
    assert_failed(run_here("backup", "b", cwd=home, **environment), 3, "marketlens ingest")
    assert run_here("ingest", export, cwd=home, **environment).returncode == 0
    assert run_here("keys", "create", "shop", cwd=home).returncode == 0
    made = run_here("backup", "b", cwd=home, **environment)
    assert made.returncode == 0, made.stderr
    assert "12" in made.stdout
    assert "API keys" in made.stdout
    secrets = [
        value for value in _strings(json.loads((home / "data" / "api-keys.json").read_text())) if len(value) > 20
    ]
    assert secrets
    backup_files = files_in(home / "b")
    assert not [name for name, data in backup_files.items() for secret in secrets if secret.encode() in data]
    assert_failed(run_here("backup", "b", cwd=home, **environment), 3, "exists already")
    assert_failed(
        run_here("restore", home / "b", cwd=home, **environment), 2, "There is already a catalogue", "--replace"
    )
    assert_failed(run_here("restore", home, cwd=other, **environment), 2, "There is no backup")
    unreachable = f"http://127.0.0.1:{free_ports(1)[0]}"
    assert_failed(
        run_here("restore", home / "b", "--uri", unreachable, cwd=other, **environment),
        3,
        "No Milvus answers",
        "running",
    )
    # The backup contains the model, so nothing has to exist before.
    environment["MARKETLENS_MODEL__PATH"] = "models/mine"
    restored = run_here("restore", home / "b", cwd=other, **environment)
    assert restored.returncode == 0, restored.stderr
    photo = export / "images" / "l3-0.jpg"
    expected = run_here("search", photo, cwd=home, MARKETLENS_MODEL__PATH=str(random_model)).stdout
    found = run_here("search", photo, cwd=other, **environment)
    assert found.stdout == expected, found.stderr
    assert "l3" in found.stdout
    assert "unchanged" in run_here("ingest", export, cwd=other, **environment).stdout
    assert "finished" in run_here("ingest", "status", cwd=other, **environment).stdout


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)

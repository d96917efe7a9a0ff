"""The ledger: a line for every row, which survives any end of the run."""

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from catalog.errors import InvalidSetting, LedgerBroken, OutputFailed
from catalog.exports.export import open_export
from catalog.listing import Photo
from catalog.runs.ledger import Ledger, Line, Run
from catalog.runs.report import Report
from catalog.settings import IndexSettings, MilvusSettings
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from ingest.stages.lookup import look_up
from ingest.store_retry import StoreRetry
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport
from tests.support.data.runs import start, start_stopped

NO_PROCESS = 2**22 + 1  # above Linux' largest process id


def lines(*numbers: int) -> list[Line]:
    return [Line(f"Images.csv row {n}", f"p{n}", f"l{n}", "written", "0" * 64) for n in numbers]


def table(ledger: Path, report: Report) -> dict[str, list[str]]:
    return pq.read_table(ledger / report.run_id / "rows.parquet").to_pydict()


def test_every_row_has_a_line(make_export: MakeExport, embedder: Embedder, photos: PhotoCollection) -> None:
    """Ledger, report and count(*) agree, and rejected rows have their stage and reason."""
    export = make_export()
    (export / "images" / "l1-0.jpg").write_bytes(b"no photo")
    (export / "images" / "l2-0.jpg").unlink()
    with (export / "Images.csv").open("a") as file:
        file.write("98,l0-0,l5\n99,x,nobody\n")
    report = ingest_export(export, embedder, photos, batch_size=3)
    rows = table(export.parent / "ledger", report)
    assert len(rows["row"]) == len(set(rows["row"])) == report.read == 14
    assert rows["verdict"].count("written") == report.written == photos.reader.count() == report.photos == 10
    reasons = {
        photo_id: (stage, reason)
        for photo_id, verdict, stage, reason in zip(
            rows["photo_id"], rows["verdict"], rows["stage"], rows["reason"], strict=True
        )
        if verdict == "rejected"
    }
    assert reasons == {
        "l0-0": ("row", "duplicate_photo_id"),
        "l1-0": ("decode", "not_an_image"),
        "l2-0": ("read", "missing"),
        "x": ("row", "unknown_listing"),
    }


def test_outcomes_of_a_second_run(make_export: MakeExport, embedder: Embedder, photos: PhotoCollection) -> None:
    """Photos with changed metadata are updated, the others unchanged, and each run keeps its own lines."""
    export = make_export()
    ingest_export(export, embedder, photos)
    products = export / "Products.csv"
    products.write_text(products.read_text().replace("£3.00", "£99.00"))
    rows = table(export.parent / "ledger", ingest_export(export, embedder, photos))
    verdicts = dict(zip(rows["photo_id"], rows["verdict"], strict=True))
    assert {photo_id for photo_id, verdict in verdicts.items() if verdict == "updated"} == {"l2-0", "l2-1"}
    assert sorted(set(verdicts.values())) == ["unchanged", "updated"]
    assert len(Ledger(export.parent / "ledger").runs()) == 2


def test_lines_survive_a_kill(tmp_path: Path) -> None:
    """Added lines are still there after a kill; a run whose process is gone is listed as killed, with its counts."""
    ledger = Ledger(tmp_path)
    report = Report(export="e")
    run = ledger.start(report)
    run.add(lines(1, 2))
    run.add(lines(3))
    report.process = NO_PROCESS
    run.save(report)
    (listed,) = ledger.runs()
    assert (listed.state, listed.read, listed.written) == ("killed", 3, 3)


def test_only_the_requested_runs_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After years of nightly runs, the last few are listed without reading all."""
    ledger = Ledger(tmp_path)
    ids = [f"2026010{day}T000000Z-abcdef" for day in range(1, 6)]
    for name in ids:
        Report(export="e", run_id=name, state="finished").save(tmp_path / name / "run.json")
    read: list[str] = []
    parse = Report.model_validate_json
    monkeypatch.setattr(Report, "model_validate_json", lambda text: read.append(text) or parse(text))
    assert [run.run_id for run in ledger.runs(2)] == [ids[4], ids[3]]
    assert len(read) == 2
    assert len(ledger.runs()) == 5


def test_runs_stay_in_order_if_the_clock_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest run is the one started last, even within the same second or after the clock went back a year."""
    ledger, now = Ledger(tmp_path), 1_800_000_000.0
    started = []
    for jump in (0, 0, -365 * 86_400, 0, 60):
        now += jump
        monkeypatch.setattr(time, "time", lambda moment=now: moment)
        ledger.start(report := Report(export="e"))
        started.append(report.run_id)
    assert [run.run_id for run in ledger.runs()] == started[::-1]
    assert ledger.find(started[-1]).folder.name == started[-1]


def test_a_half_written_part_is_not_read(tmp_path: Path) -> None:
    """A kill in the middle of a write leaves a draft, which is not read as lines."""
    run = Ledger(tmp_path).start(Report(export="e"))
    run.add(lines(1))
    (run.folder / "rows-000001.parquet.part").write_bytes(b"PAR1 cut")
    assert run.rows_done() == {"Images.csv row 1"}


@pytest.mark.parametrize("remaining", [0, 100], ids=["empty", "cut"])
def test_a_damaged_part_is_named(tmp_path: Path, remaining: int) -> None:
    """If a part lost its end, for example to a power cut, runs are still listed; reading its rows is an error."""
    ledger, report = Ledger(tmp_path), Report(export="e")
    run = ledger.start(report)
    run.add(lines(1, 2))
    run.add(lines(3))
    (run.folder / "rows-000001.parquet").write_bytes((run.folder / "rows-000001.parquet").read_bytes()[:remaining])
    (listed,) = ledger.runs()
    assert (listed.state, listed.read) == ("running", 2)
    assert "rows-000001" in listed.warnings[0]
    for read in (lambda: run.rejected(0, 5), lambda: ledger.resume(Report(export="e"))):
        with pytest.raises(LedgerBroken, match="rows-000001") as failure:
            read()
        assert "without --resume" in failure.value.hint


def test_a_damaged_report_hides_only_its_own_run(tmp_path: Path) -> None:
    """After a power cut a file may contain anything: the other runs can still be listed and resumed."""
    ledger, report = Ledger(tmp_path), Report(export="e")
    run = ledger.start(report)
    report.state = "stopped"
    run.save(report)
    damaged = ledger.start(Report(export="e"))
    (damaged.folder / "run.json").write_bytes(b"\x80\xff" * 50)
    assert [run.run_id for run in ledger.runs()] == [report.run_id]
    assert ledger.resume(Report(export="e")).folder.name == report.run_id


def test_a_full_disk_keeps_the_previous_report(tmp_path: Path) -> None:
    """If a report cannot be written, the run's previous report stays, and with it the run."""
    ledger, report = Ledger(tmp_path), Report(export="e")
    run = ledger.start(report)
    report.warnings = ["x" * 100_000]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OutputFailed):
            run.save(report)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [listed.run_id for listed in ledger.runs()] == [report.run_id]
    assert not list(run.folder.glob("*.part"))


def test_a_kill_between_table_and_parts_doubles_nothing(tmp_path: Path) -> None:
    """The merged table replaces the parts before they are deleted: if both exist, only the table is read."""
    report = Report(export="e")
    run = Ledger(tmp_path).start(report)
    run.add(lines(1, 2))
    part = next(run.folder.glob("rows-0*.parquet"))
    content = part.read_bytes()
    run.finish(report)
    part.write_bytes(content)
    assert sum(batch.num_rows for batch in run.batches()) == 2


def test_a_run_that_ends_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader at that moment gets the run's rows and state, not an error about a missing file."""
    ledger, report = Ledger(tmp_path), Report(export="e")
    run = ledger.start(report)
    run.add([Line("r1", "p1", "l1", "rejected", reason="missing"), *lines(1)])
    batches = Run.batches

    def end_meanwhile(self: Run) -> Iterator[object]:
        parts = list(self.folder.glob("rows-0*.parquet"))
        if parts:
            monkeypatch.setattr(Run, "batches", batches)
            report.state = "finished"
            run.finish(report)
        for part in parts:
            part.open()
        yield from batches(self)

    monkeypatch.setattr(Run, "batches", end_meanwhile)
    (listed,) = ledger.runs()
    assert listed.state == "finished"
    run.add([Line("r2", "p2", "l2", "rejected", reason="missing")])
    monkeypatch.setattr(Run, "batches", end_meanwhile)
    rows, total = ledger.find(report.run_id).rejected(0, 5)
    assert ([row.photo_id for row in rows], total) == (["p1"], 1)


def test_resume(
    make_export: MakeExport,
    embedder: Embedder,
    photos: PhotoCollection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows that have a line are not even looked up; the final report equals that of an uninterrupted run."""
    export = make_export(listings=10, photos_each=1)
    first = start_stopped(export, embedder, photos, 2)
    assert (first.written, photos.reader.count()) == (6, 6)
    looked_up: list[str] = []
    stored = photos.reader.stored
    monkeypatch.setattr(photos.reader, "stored", lambda ids: looked_up.extend(ids) or stored(ids))
    second = start(export, embedder, photos, resume=True)
    assert second.run_id == first.run_id
    assert (second.read, second.written, second.unchanged, second.finished) == (10, 10, 0, True)
    assert len(looked_up) == 4
    rows = table(export.parent / "ledger", second)
    assert sorted(rows["photo_id"]) == sorted(f"l{number}-0" for number in range(10))


def test_nothing_to_resume(make_export: MakeExport, embedder: Embedder, photos: PhotoCollection) -> None:
    """Without a stopped run of this export, --resume is an error and starts no run."""
    export = make_export()
    with pytest.raises(InvalidSetting, match="no stopped run"):
        start(export, embedder, photos, resume=True)
    ingest_export(export, embedder, photos)
    with pytest.raises(InvalidSetting, match="no stopped run"):
        start(export, embedder, photos, resume=True)
    assert len(Ledger(export.parent / "ledger").runs()) == 1


def test_a_changed_export_is_not_resumed(make_export: MakeExport, embedder: Embedder, photos: PhotoCollection) -> None:
    """Lines of the earlier version of the export would hide its new rows."""
    export = make_export(listings=10, photos_each=1)
    start_stopped(export, embedder, photos, 1)
    with (export / "Images.csv").open("a") as file:
        file.write("98,l0-9,l5\n")
    with pytest.raises(InvalidSetting, match="has changed"):
        start(export, embedder, photos, resume=True)


def test_another_collection_is_not_resumed(
    make_export: MakeExport,
    embedder: Embedder,
    photos: PhotoCollection,
    tmp_path: Path,
) -> None:
    """Lines of photos in one database would silently leave them out of another."""
    export = make_export(listings=10, photos_each=1)
    start_stopped(export, embedder, photos, 1)
    other = PhotoCollection.connect(
        MilvusSettings(uri=str(tmp_path / "other.db")), IndexSettings(), consistency="Session"
    )
    try:
        with pytest.raises(InvalidSetting, match="did not write to photos_"):
            start(export, embedder, other, resume=True)
        assert start(export, embedder, other).written == other.reader.count() == 10
    finally:
        other.close()


def test_a_dry_run_does_not_resume(make_export: MakeExport, embedder: Embedder, photos: PhotoCollection) -> None:
    """A dry run has no ledger, so the error says that it cannot resume, not that there is no stopped run."""
    export = make_export(listings=10, photos_each=1)
    start_stopped(export, embedder, photos, 1)
    with pytest.raises(InvalidSetting, match="do not go together"):
        start(export, embedder, photos, resume=True, dry_run=True)


def test_a_run_of_another_host_does_not_stay_running(
    make_export: MakeExport, embedder: Embedder, photos: PhotoCollection
) -> None:
    """A run killed with its container is listed as running until the next run into its collection starts."""
    export = make_export()
    ledger = Ledger(export.parent / "ledger")
    collection = ingest_export(export, embedder, photos).collection
    abandoned = [Report(export="e", collection=name) for name in (collection, "another")]
    for report in abandoned:
        run = ledger.start(report)
        report.host = "container-1"
        run.save(report)
        run.add(lines(1, 2))

    def states() -> list[tuple[str, int]]:
        runs = {run.run_id: (run.state, run.read) for run in ledger.runs()}
        return [runs[report.run_id] for report in abandoned]

    assert states() == [("running", 2), ("running", 2)]
    ingest_export(export, embedder, photos)
    assert states() == [("killed", 2), ("running", 2)]


def test_a_clock_set_back_changes_no_dates(
    make_export: MakeExport, embedder: Embedder, photos: PhotoCollection
) -> None:
    """The date of a listing is that of its first ingest, even if the clock is earlier at a later one."""
    export = make_export()
    ingest_export(export, embedder, photos)
    rows = [row for row in open_export(str(export)).rows() if isinstance(row, Photo)]
    for result in look_up(rows, photos, StoreRetry(0, print), now=1_000_000_000):
        assert isinstance(result.row, Photo)
        assert result.known
        assert result.row.listing.listed_at == result.known.photo.listing.listed_at

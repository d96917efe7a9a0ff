"""The command as a user sees it: what went wrong, where, how to fix it, and never a traceback."""

import errno
import json
import os
import signal
import socket
import subprocess
import time
from importlib import metadata
from pathlib import Path

import pytest
from PIL import Image

from catalog.settings import Settings
from marketlens import cli, doctor
from tests.support.commands import COMMAND, RunHere, assert_failed, marketlens
from tests.support.data.exports import MakeExport
from tests.support.data.pictures import jpeg, picture
from tests.support.servers.milvus_server import free_ports


@pytest.mark.parametrize(
    "arguments",
    [["ingest"], ["ingest", "x", "--max-rejected", "2"], ["search"], ["fly"], ["serve", "--port", "many"]],
    ids=" ".join,
)
def test_wrong_usage_is_2(tmp_path: Path, run_here: RunHere, arguments: list[str]) -> None:
    """Missing arguments, invalid options and unknown commands."""
    assert_failed(run_here(*arguments, cwd=tmp_path), 2)


def test_the_installed_command(tmp_path: Path) -> None:
    """Wrong usage, help and a domain error, in a process of its own; other tests run the command in this process."""
    assert_failed(marketlens("fly", cwd=tmp_path), 2, "fly")
    assert "ingest" in marketlens("--help", cwd=tmp_path).stdout
    assert_failed(marketlens("ingest", "nowhere", cwd=tmp_path), 2, "nowhere", "export folder")


@pytest.mark.parametrize("arguments", [["ingest", "--help"], ["ingest", "run", "--help"]], ids=" ".join)
def test_help_of_ingest_has_its_options(tmp_path: Path, run_here: RunHere, arguments: list[str]) -> None:
    """The short form shows the help of `ingest run`, which mentions `ingest status`."""
    result = run_here(*arguments, cwd=tmp_path)
    assert result.returncode == 0
    for word in ("--resume", "--sync", "--engine", "--bulk", "marketlens ingest status"):
        assert word in result.stdout


def test_an_invalid_export(tmp_path: Path, make_export: MakeExport, run_here: RunHere) -> None:
    """The message names what the export lacks, before a model is loaded or a store is opened."""
    assert_failed(run_here("ingest", "nowhere", cwd=tmp_path), 2, "nowhere", "export folder")
    export = make_export()
    (export / "Images.csv").unlink()
    assert_failed(run_here("ingest", export, cwd=tmp_path), 2, "no Images.csv", "manifest")
    (tmp_path / "m.csv").write_text("photo_id,title\n1,a\n")
    assert_failed(run_here("ingest", tmp_path / "m.csv", cwd=tmp_path), 2, "listing_id, category")


def test_no_model_says_how_to_get_one(tmp_path: Path, make_export: MakeExport, run_here: RunHere) -> None:
    """For a folder without a model, the message names the shipped one and the command that makes one."""
    words = ("no model in nowhere", "marketlens model import", "models/marketlens-resnet50")
    assert_failed(run_here("ingest", make_export(), "--model", "nowhere", cwd=tmp_path), 2, *words)


def test_no_milvus_at_the_address(
    tmp_path: Path, make_export: MakeExport, random_model: Path, run_here: RunHere
) -> None:
    """Ingest and serve name a server address where nothing listens."""
    options = ("--uri", "http://127.0.0.1:9", "--model", random_model)
    environment = {"MARKETLENS_MILVUS__TIMEOUT": "1"}
    assert_failed(run_here("ingest", make_export(), *options, cwd=tmp_path, **environment), 3, "http://127.0.0.1:9")
    assert_failed(
        run_here("serve", *options, "--port", free_ports(1)[0], cwd=tmp_path, **environment), 3, "http://127.0.0.1:9"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INDEX__TYPE", "DISKANN"),
        ("API__PORT", "0"),
        ("INGEST__BATCH_SIZE", "many"),
        ("INDEX__TYPE", "IVF_PQ"),  # Lite does not have it
        ("MILVUS__URI", "localhost:19530"),
        ("MILVUS__URI", "http://127.0.0.1:99999"),
        ("MILVUS__URI", "http://:19530"),
        ("MILVUS__URL", "http://127.0.0.1:19530"),
    ],
)
def test_an_invalid_setting_is_named(
    tmp_path: Path, make_export: MakeExport, random_model: Path, run_here: RunHere, name: str, value: str
) -> None:
    """A setting with an invalid value is named by its environment variable."""
    result = run_here("ingest", make_export(), "--model", random_model, cwd=tmp_path, **{f"MARKETLENS_{name}": value})
    assert_failed(result, 2, f"MARKETLENS_{name}")


def test_too_many_rejected_is_1(tmp_path: Path, make_export: MakeExport, random_model: Path, run_here: RunHere) -> None:
    """The share of rejected rows decides between 0 and 1; good rows are written and rejected ones reported anyway."""
    export = make_export(listings=5, photos_each=1)
    (export / "images" / "l1-0.jpg").write_bytes(b"[bold]no photo[/bold]")
    result = run_here("ingest", export, "--model", random_model, cwd=tmp_path)
    assert result.returncode == 1
    assert "not_an_image" in result.stdout
    report = json.loads((tmp_path / "data" / "report.json").read_text())
    assert (report["read"], report["written"], report["rejected"]) == (5, 4, 1)
    assert report["rejected_rows"][0]["row"] == "Images.csv row 3"
    again = run_here("ingest", export, "--model", random_model, "--max-rejected", "0.2", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr


def test_a_catalogue_of_another_model(
    tmp_path: Path, make_export: MakeExport, random_model: Path, imagenet_model: Path, run_here: RunHere
) -> None:
    """Ingest, search and serve refuse a collection of another model; doctor reports it."""
    export = make_export(listings=2)
    assert run_here("ingest", export, "--model", random_model, cwd=tmp_path).returncode == 0
    other = ("--model", imagenet_model)
    assert_failed(
        run_here("ingest", export, *other, cwd=tmp_path), 2, "was made by the model", f"--model {random_model}"
    )
    photo = export / "images" / "l0-0.jpg"
    assert_failed(run_here("search", photo, *other, cwd=tmp_path), 2, "was made by the model")
    assert_failed(run_here("serve", *other, "--port", free_ports(1)[0], cwd=tmp_path), 2, "was made by the model")
    doctor = run_here("doctor", *other, cwd=tmp_path)
    assert doctor.returncode == 3
    assert "model mismatch" in doctor.stdout


def test_search_with_an_unusable_photo(tmp_path: Path, random_model: Path, run_here: RunHere) -> None:
    """A missing file, a text file or a missing catalogue is reported before anything is created."""
    assert_failed(run_here("search", "gone.jpg", "--model", random_model, cwd=tmp_path), 2, "gone.jpg")
    (tmp_path / "text.jpg").write_text("no photo")
    assert_failed(run_here("search", "text.jpg", "--model", random_model, cwd=tmp_path), 2, "not a photo")
    (tmp_path / "good.jpg").write_bytes(jpeg(picture(1)))
    assert_failed(run_here("search", "good.jpg", "--model", random_model, cwd=tmp_path), 3, "marketlens ingest")
    assert_failed(
        run_here("serve", "--model", random_model, "--port", free_ports(1)[0], cwd=tmp_path), 3, "marketlens ingest"
    )
    assert not (tmp_path / "data").exists()
    crossed = ("--price-min", "5", "--price-max", "1")
    assert_failed(run_here("search", "good.jpg", *crossed, "--model", random_model, cwd=tmp_path), 2, "lowest price")


def test_an_unwritable_report_is_reported_first(
    tmp_path: Path, make_export: MakeExport, random_model: Path, run_here: RunHere
) -> None:
    """If the report cannot be written, nothing is embedded."""
    (tmp_path / "taken.json").mkdir()
    result = run_here("ingest", make_export(), "--model", random_model, "--report", "taken.json", cwd=tmp_path)
    assert_failed(result, 3, "taken.json")
    assert not (tmp_path / "data").exists()


def test_a_refused_ingest_is_not_shown_as_running(
    tmp_path: Path, make_export: MakeExport, random_model: Path, run_here: RunHere
) -> None:
    """Its report says that it failed, and the ledger has no such run."""
    result = run_here("ingest", make_export(), "--model", random_model, "--resume", cwd=tmp_path)
    assert_failed(result, 2, "no stopped run", "without --resume")
    assert json.loads((tmp_path / "data" / "report.json").read_text())["state"] == "failed"
    assert "No run in data/ledger" in run_here("ingest", "status", cwd=tmp_path).stdout


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_ingest_resumes(
    tmp_path: Path, make_export: MakeExport, random_model: Path, stop: signal.Signals
) -> None:
    """Ctrl-C and SIGTERM leave a report of the confirmed rows; the next run writes the rest and nothing twice."""
    export = make_export(listings=24, photos_each=2)
    arguments = [COMMAND, "ingest", str(export), "--model", str(random_model), "--uri", "c.db", "--report", "r.json"]
    environment = os.environ | {"MARKETLENS_INGEST__BATCH_SIZE": "16"}
    process = subprocess.Popen(arguments, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300
    # The second batch is written, so the first one is counted.
    while len(list(tmp_path.glob("c.db/collections/**/*.parquet"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    first = json.loads((tmp_path / "r.json").read_text())
    assert not first["finished"]
    assert first["read"] == first["written"] > 0
    assert marketlens(*arguments[1:], cwd=tmp_path).returncode == 0
    second = json.loads((tmp_path / "r.json").read_text())
    assert (second["read"], second["finished"]) == (48, True)
    # A batch may have been confirmed when the signal came, but no longer counted.
    assert 0 <= second["unchanged"] - first["written"] <= 16
    assert second["written"] + second["unchanged"] == 48


def test_runs_are_listed(tmp_path: Path, make_export: MakeExport, random_model: Path, run_here: RunHere) -> None:
    """`ingest status` lists the runs with their counts; it does not list a dry run."""
    export = make_export(listings=2)
    assert "No run in data/ledger" in run_here("ingest", "status", cwd=tmp_path).stdout
    dry = run_here("ingest", export, "--model", random_model, "--dry-run", cwd=tmp_path)
    assert dry.returncode == 0, dry.stderr
    assert "No run in data/ledger" in run_here("ingest", "status", cwd=tmp_path).stdout
    assert run_here("ingest", export, "--model", random_model, cwd=tmp_path).returncode == 0
    assert run_here("ingest", export, "--model", random_model, "--sync", cwd=tmp_path).returncode == 0
    status = run_here("ingest", "status", cwd=tmp_path).stdout
    assert status.count(" finished │") == 2
    assert status.index("4 unchanged") < status.index("4 embedded")


def test_search_filters_and_sync_refuses(
    tmp_path: Path, make_export: MakeExport, random_model: Path, run_here: RunHere
) -> None:
    """`search` shows what passes its filters; `--sync` removes nothing and exits with 1 if it would remove too much."""
    export, model = make_export(listings=6, photos_each=1), ("--model", random_model)
    products = export / "Products.csv"
    products.write_text(products.read_text().replace('£2.00,"Leeds', '£2.00,"York'))
    assert run_here("ingest", export, *model, cwd=tmp_path).returncode == 0
    filters = ("--category", "Garden", "--location", "Leeds")
    found = run_here("search", export / "images" / "l0-0.jpg", *filters, *model, cwd=tmp_path).stdout
    assert [number for number in range(6) if f"Thing {number}" in found] == [3, 5]
    images = export / "Images.csv"
    images.write_text("".join(images.read_text().splitlines(keepends=True)[:2]))
    synced = run_here("ingest", export, "--sync", *model, cwd=tmp_path)
    assert synced.returncode == 1
    report = json.loads((tmp_path / "data" / "report.json").read_text())
    assert (report["photos"], report["read"]) == (6, 1)
    assert report["sync_refused"] in synced.stdout


def test_a_port_in_use_is_named(tmp_path: Path, random_model: Path, run_here: RunHere) -> None:
    """serve, dashboard and up refuse to start, and name the port."""
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()
        port = str(occupied.getsockname()[1])
        for command in (["serve", "--model", random_model, "--port", port], ["dashboard", "--port", port], ["up"]):
            result = run_here(*command, cwd=tmp_path, MARKETLENS_DASHBOARD__PORT=port, MARKETLENS_API__PORT=port)
            assert_failed(result, 2, port, "in use")


def test_up_says_why_it_ended(tmp_path: Path, random_model: Path) -> None:
    """Without a catalogue, up ends with the reason and names the service that ended."""
    ports = free_ports(2)
    environment = {"MARKETLENS_API__PORT": str(ports[0]), "MARKETLENS_DASHBOARD__PORT": str(ports[1])}
    result = marketlens("up", "--model", random_model, cwd=tmp_path, **environment)
    assert_failed(result, 3, "marketlens ingest")
    assert "The API ended with status 3" in result.stdout


def test_doctor_checks_everything(
    tmp_path: Path, make_export: MakeExport, random_model: Path, run_here: RunHere
) -> None:
    """It exits with 0 if all checks pass; without a model or a catalogue it says how to get them."""
    incomplete = run_here("doctor", "--model", "nowhere", cwd=tmp_path)
    assert incomplete.returncode == 3
    for words in ("marketlens model import", "marketlens ingest EXPORT"):
        assert words in incomplete.stdout
    assert run_here("ingest", make_export(2), "--model", random_model, cwd=tmp_path).returncode == 0
    healthy = run_here("doctor", "--model", random_model, cwd=tmp_path)
    assert healthy.returncode == 0, healthy.stdout
    assert "4 photos" in healthy.stdout


def test_doctor_shows_no_password(milvus_server: str, tmp_path: Path, run_here: RunHere) -> None:
    """A URL with a user name and a password is shown without them."""
    address = milvus_server.replace("//", "//shop:letmein@")
    result = run_here("doctor", cwd=tmp_path, MARKETLENS_MILVUS__URI=address)
    assert f"{milvus_server}: " in result.stdout, result.stderr
    assert "letmein" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: not enough memory: you tried 8 bytes"),
        RuntimeError("unable to mmap 24699958 bytes from file </m/model.safetensors>: Cannot allocate memory (12)"),
        Exception("[ONNXRuntimeError] : 1 : FAIL : BFCArena Failed to allocate memory for requested buffer of size 9"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_too_little_memory(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """However a library reports it: status 3, a message, no traceback; other errors are raised as they are."""

    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3
    assert "not enough memory" in capsys.readouterr().err
    error = RuntimeError("something else")
    with pytest.raises(RuntimeError, match="something else"):
        cli.main()


def test_doctor_needs_no_dashboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """If Streamlit is missing, as in the ingest image, doctor reports it and the check passes."""
    monkeypatch.setattr(doctor, "version", _raise_not_found)
    (checked, healthy, found, _), *_ = doctor._extras(Settings())
    assert (checked, healthy) == ("streamlit", True)
    assert "marketlens[dashboard]" in found


def _raise_not_found(name: str) -> None:
    raise metadata.PackageNotFoundError(name)


def test_demo_with_own_photos(tmp_path: Path, random_model: Path, run_here: RunHere) -> None:
    """A folder of photos, sub-folders as categories, becomes a catalogue and a contact sheet."""
    for number in range(8):
        folder = tmp_path / "mine" / ("cups" if number % 2 else "plates")
        folder.mkdir(parents=True, exist_ok=True)
        picture(number, (300, 200)).save(folder / f"photo {number}.jpg")
    (tmp_path / "mine" / "broken.jpg").write_bytes(b"no photo")
    result = run_here("demo", "--data", "mine", "--once", cwd=tmp_path, MARKETLENS_MODEL__PATH=str(random_model))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "cups" in result.stdout
    assert "not_an_image" in result.stdout
    sheet = Image.open(tmp_path / "data" / "demo" / "contact-sheet.png")
    assert sheet.width > 1_000
    assert len(list((tmp_path / "data" / "insights").glob("*/insights.json"))) == 1  # for the dashboard's pages


def test_a_model_is_not_overwritten(tmp_path: Path, random_model: Path, run_here: RunHere) -> None:
    """`model import` never replaces a folder; invalid weights are named."""
    weights = random_model.parent / "random.safetensors"
    assert_failed(
        run_here("model", "import", "--weights", weights, "--out", random_model, cwd=tmp_path), 3, "exists already"
    )
    (tmp_path / "w.safetensors").write_bytes(b"none")
    assert_failed(run_here("model", "import", "--weights", "w.safetensors", cwd=tmp_path), 3, "w.safetensors")
    assert not (tmp_path / "models").exists()

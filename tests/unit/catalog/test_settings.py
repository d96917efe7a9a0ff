import os
from pathlib import Path

import pytest
from pydantic import ValidationError

import catalog.settings
from catalog.errors import InvalidSetting
from catalog.settings import SECRETS_DIR, MilvusSettings, Settings
from marketlens.options import load_settings


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore the developer's environment variables and .env file."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("MARKETLENS_")]:
        monkeypatch.delenv(name)


def test_defaults() -> None:
    """The defaults use this machine only, with the embedded store."""
    settings = Settings()
    assert settings.milvus.is_lite
    assert settings.index.type == "IVF_FLAT"
    assert settings.api.host == settings.dashboard.host == "127.0.0.1"
    assert settings.api.port == 8080


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable sets one value; the others of its group keep their defaults."""
    monkeypatch.setenv("MARKETLENS_MILVUS__URI", "http://milvus:19530")
    monkeypatch.setenv("MARKETLENS_INDEX__NPROBE", "17")
    monkeypatch.setenv("MARKETLENS_MODEL__PATH", "/models/x")
    settings = Settings()
    assert settings.milvus == MilvusSettings(uri="http://milvus:19530")
    assert (settings.index.nprobe, settings.index.nlist) == (17, Settings.model_fields["index"].default.nlist)
    assert settings.model.path == Path("/models/x")


def test_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A .env file is read, lines of other programs are ignored, and the environment has priority."""
    (tmp_path / ".env").write_text("MARKETLENS_API__PORT=9000\nMARKETLENS_MILVUS__ALIAS=a\nOTHER=1\n")
    monkeypatch.setenv("MARKETLENS_MILVUS__ALIAS", "b")
    settings = Settings()
    assert (settings.api.port, settings.milvus.alias) == (9000, "b")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INDEX__TYPE", "DISKANN"),
        ("INDEX__TYPE", "IVF_FLATT"),
        ("INDEX__NLIST", "0"),
        ("INDEX__NPROBE", "-1"),
        ("INDEX__HNSW_M", "1"),
        ("INGEST__BATCH_SIZE", "0"),
        ("INGEST__BATCH_SIZE", "1001"),
        ("API__PORT", "70000"),
        ("MILVUS__TIMEOUT", "0"),
    ],
)
def test_impossible(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """An invalid value is refused at once, and its setting is named: Milvus Lite would accept any index name."""
    monkeypatch.setenv(f"MARKETLENS_{name}", value)
    with pytest.raises(ValidationError, match=name.lower().replace("__", ".")):
        Settings()


def test_token_is_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token does not appear in printed settings."""
    monkeypatch.setenv("MARKETLENS_MILVUS__TOKEN", "root:s3cret")
    settings = Settings()
    assert settings.milvus.token.get_secret_value() == "root:s3cret"
    assert "s3cret" not in f"{settings!r} {settings} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("uri", "lite"),
    [("./data/milvus.db", True), ("/srv/milvus.db", True), ("http://127.0.0.1:19530", False), ("https://m:443", False)],
)
def test_is_lite(uri: str, lite: bool) -> None:
    """A path means the embedded store, a URL a server."""
    assert MilvusSettings(uri=uri).is_lite is lite


def test_nothing_at_import() -> None:
    """Importing the module reads no environment: it contains no instance of Settings."""
    assert not [name for name, value in vars(catalog.settings).items() if isinstance(value, Settings)]


def test_secrets_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file in MARKETLENS_SECRETS_DIR sets the variable of its name, without the line end; the environment wins."""
    (tmp_path / "MARKETLENS_MILVUS__TOKEN").write_text("root:s3cret\n")
    (tmp_path / "MARKETLENS_MILVUS__ALIAS").write_text("of-the-file")
    (tmp_path / "of-somebody-else").write_text("x")
    monkeypatch.setenv(SECRETS_DIR, str(tmp_path))
    monkeypatch.setenv("MARKETLENS_MILVUS__ALIAS", "of-the-environment")
    settings = load_settings()
    assert settings.milvus.token.get_secret_value() == "root:s3cret"
    assert settings.milvus.alias == "of-the-environment"


def test_missing_secrets_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing secrets folder is an error that names it, so a service does not start without its secrets."""
    monkeypatch.setenv(SECRETS_DIR, str(tmp_path / "absent"))
    with pytest.raises(InvalidSetting, match="absent"):
        load_settings()

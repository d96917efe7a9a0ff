"""Settings from environment variables `MARKETLENS_…` (nested with `__`), a `.env` file, or one file per setting."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

# Names a folder with one file per secret, named like its variable: containers get secrets outside their environment.
SECRETS_DIR = "MARKETLENS_SECRETS_DIR"
SHIPPED_MODEL = Path("models/marketlens-resnet50")

IndexType = Literal["FLAT", "IVF_FLAT", "IVF_SQ8", "IVF_PQ", "HNSW"]
LogFormat = Literal["auto", "json", "lines"]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class SettingsGroup(BaseModel):
    """A group of settings. An unknown name, for example a misspelt one, is an error."""

    model_config = ConfigDict(extra="forbid")


class MilvusSettings(SettingsGroup):
    """Where the photos are stored: a path means embedded Milvus Lite, an http URL a server or cluster."""

    uri: str = "./data/milvus.db"
    token: SecretStr = SecretStr("")
    alias: str = "photos"
    timeout: float = Field(10.0, gt=0, description="seconds to wait for a server's answer")

    @field_validator("uri")
    @classmethod
    def _is_an_address(cls, uri: str) -> str:
        if uri.startswith(("http://", "https://")):
            try:
                TypeAdapter(AnyHttpUrl).validate_python(uri)
            except ValidationError as error:
                raise ValueError(f"{uri!r} is not a valid address: {error.errors()[0]['msg']}") from error
        elif not uri.endswith(".db") or "://" in uri:
            raise ValueError(f"{uri!r} is neither an address like http://127.0.0.1:19530 nor a path ending in .db")
        return uri

    @property
    def uri_without_password(self) -> str:
        """The address without user name and password, for messages."""
        return re.sub(r"//[^/@]*@", "//", self.uri)

    @property
    def is_lite(self) -> bool:
        """Whether this is the embedded database rather than a server."""
        return "://" not in self.uri


class IndexSettings(SettingsGroup):
    """The vector index; the metric is always COSINE. `nprobe` and `ef` are for searches without a filter."""

    type: IndexType = "IVF_FLAT"
    nlist: Count = 128
    nprobe: Count = 64
    pq_m: Count = 64
    hnsw_m: Annotated[int, Field(ge=2, le=2048)] = 16
    ef_construction: Count = 200
    ef: Count = 128


def shipped_model() -> Path:
    """Return the folder of the model shipped with marketlens: inside this package in a wheel, `models` in a checkout.

    Neither depends on the working directory.
    """
    package = Path(__file__).parent
    in_wheel = package / SHIPPED_MODEL
    return in_wheel if in_wheel.exists() else package.parent / SHIPPED_MODEL


class ModelSettings(SettingsGroup):
    """The model folder that ingest and search share. A relative path starts at the working directory."""

    path: Path = Field(default_factory=shipped_model)


class BulkSettings(SettingsGroup):
    """Where files for a bulk import go: the server's bucket, or a folder mounted under the same path on the server."""

    folder: str = ""
    endpoint: str = Field("", description="HOST:PORT of the bucket's object store")
    bucket: str = "a-bucket"
    prefix: str = "marketlens"
    access_key: SecretStr = SecretStr("")
    secret_key: SecretStr = SecretStr("")
    secure: bool = False
    draft: Path = Path("data/bulk")  # the folder for files before they are uploaded to the bucket


class IngestSettings(SettingsGroup):
    """Settings of `marketlens ingest`."""

    batch_size: Annotated[int, Field(ge=1, le=1000)] = 256
    max_photo_bytes: Count = 30_000_000
    network_seconds: float = Field(20.0, gt=0, description="timeout of one attempt to read a photo")
    ledger: Path = Path("data/ledger")
    wait_seconds: float = Field(300.0, ge=0, description="how long a run waits for an unreachable Milvus")
    engine: Literal["local", "ray"] = "local"
    bulk: BulkSettings = BulkSettings()


class CheckSettings(SettingsGroup):
    """What `index check` requires of a build, and the folder of its golden queries."""

    golden: Path = Path("data/golden")
    min_recall: float = Field(0.95, ge=0, le=1)


class InsightsSettings(SettingsGroup):
    """Where `marketlens insights` stores its results, and the maximum number of photos on its map.

    `catch_all` are the categories for the rest, which are never suggested; by default those with a name such as "Other
    Goods" or "Sonstiges".
    """

    folder: Path = Path("data/insights")
    map_photos: Annotated[int, Field(ge=1, le=1_000_000)] = 50_000
    catch_all: list[str] | None = None


class VerdictSettings(SettingsGroup):
    """Where verdicts are stored: SQLite, or PostgreSQL (`postgresql://user:password@host/database`)."""

    url: SecretStr = SecretStr("sqlite:///data/verdicts.db")


class ApiSettings(SettingsGroup):
    """The search service."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    workers: Count = 1
    max_upload_bytes: Count = 15_000_000
    photos: Path = Path("data/photos")
    receive_seconds: Seconds = 30.0
    decode_seconds: Seconds = 10.0
    embed_seconds: Seconds = 10.0
    store_seconds: Seconds = 15.0
    photo_seconds: Seconds = 15.0
    waiting: Count = 128
    keys: Path = Path("data/api-keys.json")
    photo_url_seconds: Annotated[int, Field(ge=3600)] = 86_400
    rate_limit: str = "600/minute"
    cors_origins: list[str] = []
    log: LogFormat = "auto"
    recall_seconds: float = Field(12.0, ge=0, description="interval of searches for a stored photo; 0: never")


class DashboardSettings(SettingsGroup):
    """Where the dashboard listens. It calls the API at `api_url`; browsers load photos from `public_api_url`."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8501
    api_url: str = "http://127.0.0.1:8080"
    public_api_url: str = Field("", description="empty: api_url")
    api_key: SecretStr = SecretStr("")


class Settings(BaseSettings):
    """All settings. Example: `MARKETLENS_MILVUS__URI=http://127.0.0.1:19530`."""

    model_config = SettingsConfigDict(
        env_prefix="MARKETLENS_", env_nested_delimiter="__", env_file=".env", extra="ignore"
    )

    milvus: MilvusSettings = MilvusSettings()
    index: IndexSettings = IndexSettings()
    model: ModelSettings = ModelSettings()
    ingest: IngestSettings = IngestSettings()
    check: CheckSettings = CheckSettings()
    insights: InsightsSettings = InsightsSettings()
    verdicts: VerdictSettings = VerdictSettings()
    api: ApiSettings = ApiSettings()
    dashboard: DashboardSettings = DashboardSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add the files of `MARKETLENS_SECRETS_DIR` with the lowest priority. Raises SettingsError."""
        folder = os.environ.get(SECRETS_DIR)
        try:
            secrets = NestedSecretsSettingsSource(file_secret_settings, secrets_dir=folder, secrets_dir_missing="error")
        except OSError as error:
            raise SettingsError(f"{SECRETS_DIR}: {error.filename}: {error.strerror}") from error
        return init_settings, env_settings, dotenv_settings, secrets

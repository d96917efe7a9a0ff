"""What operators see and do: builds, ingest runs, models, figures over time."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field


class Caller(BaseModel):
    """Who asks. Where no keys are needed, everybody is admin and nobody has a name."""

    name: str
    scope: Literal["", "read", "write", "admin"] = Field(description="Widest of the key; empty without one.")
    keys_needed: bool


class Build(BaseModel):
    """A collection, live or beside it."""

    name: str
    build: str
    model_fingerprint: str
    model: str = Field(description="Folder of the model; empty where nobody said.")
    index: dict[str, Any] = Field(description="Type and parameters.")
    state: str
    photos: int | None
    is_live: bool
    is_previous: bool = Field(description="Where a rollback goes.")


class BuildsResponse(BaseModel):
    """Every build, newest first."""

    alias: str
    builds: list[Build]
    pending: str | None = Field(description="What keeps a build that was promoted from answering.")


class IngestRun(BaseModel):
    """A run of `marketlens ingest`: read = written + unchanged + rejected."""

    run_id: str
    export: str
    arguments: dict[str, Any]
    state: str
    collection: str
    model_fingerprint: str
    started_at: datetime
    seconds: float
    stage_seconds: dict[str, float]
    read: int
    written: int
    embedded: int
    updated: int
    unchanged: int
    rejected: int
    removed: int
    warnings: list[str]


class RunsResponse(BaseModel):
    """Ingest runs, newest first."""

    runs: list[IngestRun]


class RejectedRow(BaseModel):
    """A row that could not be used."""

    row: str
    photo_id: str
    listing_id: str
    stage: str
    reason: str
    detail: str


class RejectedResponse(BaseModel):
    """Rejected rows of one run, in the order of its ledger."""

    rows: list[RejectedRow]
    total: int
    next_after: int | None


class ActivityPoint(BaseModel):
    """What the service did in one interval, probes and /metrics aside; no milliseconds where nothing was asked."""

    at: datetime = Field(description="When the interval ended.")
    requests: int
    client_errors: int = Field(description="4xx")
    server_errors: int = Field(description="5xx")
    p50_ms: float | None
    p99_ms: float | None
    stage_ms: dict[str, float] = Field(description="Mean per stage.")


class ActivityResponse(BaseModel):
    """The last hours, oldest first, over all workers; from the start of this process on."""

    seconds: float = Field(description="Length of an interval.")
    points: list[ActivityPoint]
    recall: dict[str, float] = Field(description="Live recall@10 per category, from the probe. Empty while unmeasured.")


class ModelFigure(BaseModel):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float
    queries: int


class ModelResponse(BaseModel):
    """The card of a model."""

    name: str
    model_fingerprint: str
    folder: str
    is_live: bool
    categories: list[str]
    metrics: dict[str, ModelFigure]
    training: dict[str, Any]
    architecture: dict[str, Any]
    calibration: dict[str, Any] | None
    arithmetic: str
    parent: str
    licence: str
    plots: list[str] = Field(description="Names for /v1/models/{model_fingerprint}/plots/{name}.")


class ModelsResponse(BaseModel):
    """The models of the builds, the live one first."""

    models: list[ModelResponse]
    unreadable: list[str] = Field(description="Builds whose model's folder cannot be read, and why.")

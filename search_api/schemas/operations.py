"""Responses for operators: builds, ingest runs, models, activity."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field


class Caller(BaseModel):
    """The caller. If the service needs no keys, every caller is an admin without a name."""

    name: str
    scope: Literal["", "read", "write", "admin"] = Field(description="Scope of the key; empty without a key.")
    keys_needed: bool


class Build(BaseModel):
    """A build of the catalogue: one collection, live or not."""

    name: str
    build: str
    model_fingerprint: str
    model: str = Field(description="Folder of the model; empty if unknown.")
    index: dict[str, Any] = Field(description="Type and parameters.")
    state: str
    photos: int | None
    is_live: bool
    is_previous: bool = Field(description="True for the build that a rollback makes live.")


class BuildsResponse(BaseModel):
    """All builds, newest first."""

    alias: str
    builds: list[Build]
    pending: str | None = Field(description="Why a promoted build is not in use yet.")


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
    """Activity in one interval, without probes and /metrics. Times are null if there were no requests."""

    at: datetime = Field(description="When the interval ended.")
    requests: int
    client_errors: int = Field(description="4xx")
    server_errors: int = Field(description="5xx")
    p50_ms: float | None
    p99_ms: float | None
    stage_ms: dict[str, float] = Field(description="Mean milliseconds per stage.")


class ActivityResponse(BaseModel):
    """Activity of all workers over the last hours, oldest first, since this process started."""

    seconds: float = Field(description="Length of an interval.")
    points: list[ActivityPoint]
    recall: dict[str, float] = Field(
        description="Recall@10 per category, measured by the probe on live searches. Empty until measured."
    )


class ModelFigure(BaseModel):
    """A mean with its 95 % confidence interval."""

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
    """The models of all builds, the live one first."""

    models: list[ModelResponse]
    unreadable: list[str] = Field(description="Builds whose model folder cannot be read, with the reason.")

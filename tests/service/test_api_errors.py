"""The HTTP status of each domain error."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from catalog import errors as domain
from catalog.errors import MarketlensError, PhotoUnusable
from search_api import errors
from search_api.serving.stage import Overloaded, StageTooSlow


def make(error: type[MarketlensError]) -> MarketlensError:
    return error("cut", "half a photo") if error is PhotoUnusable else error("what", hint="how")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (domain.NotFound, 404),
        (domain.InsightsMissing, 404),
        (domain.PhotoUnusable, 422),
        (domain.InvalidFilter, 422),
        (domain.InvalidQuery, 422),
        (domain.QueryOutdated, 409),
        (domain.ListingConflict, 409),
        (domain.IngestRunning, 409),
        (domain.OutputFailed, 507),
        (domain.BuildRefused, 409),
        (domain.CollectionMissing, 503),
        (domain.CollectionReplaced, 503),
        (domain.ModelMismatch, 503),
        (domain.StoreUnreachable, 503),
        (domain.StoreLocked, 503),
        (domain.VerdictsUnavailable, 503),
        (domain.StoreFailed, 502),
        (domain.LedgerBroken, 502),
        (domain.ModelBroken, 500),
        (Overloaded, 503),
        (StageTooSlow, 503),
    ],
)
def test_each_error_has_its_status(error: type[MarketlensError], status: int) -> None:
    """Each domain error gives its status, code and detail; a 503 has Retry-After."""
    app = FastAPI()
    errors.install(app)

    @app.get("/")
    def fail() -> None:
        raise make(error)

    response = TestClient(app, raise_server_exceptions=False).get("/")
    assert response.status_code == status
    body = response.json()
    assert ("retry-after" in response.headers) is (status == 503)
    assert (body["status"], body["code"], body["detail"]) == (status, error.code, make(error).message)

"""Converts domain errors to problem+json (RFC 9457). `STATUS` is the only table of their HTTP statuses."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from asgi_correlation_id import correlation_id
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from catalog.errors import (
    BuildRefused,
    CollectionMissing,
    CollectionReplaced,
    IngestRunning,
    InsightsMissing,
    InvalidFilter,
    InvalidQuery,
    LedgerBroken,
    ListingConflict,
    MarketlensError,
    ModelMismatch,
    NotFound,
    OutputFailed,
    PhotoUnusable,
    QueryOutdated,
    StoreFailed,
    StoreLocked,
    StoreUnreachable,
    VerdictsUnavailable,
)
from search_api.schemas import Problem
from search_api.serving.stage import Overloaded, StageTooSlow

STATUS: dict[type[MarketlensError], HTTPStatus] = {
    NotFound: HTTPStatus.NOT_FOUND,
    InsightsMissing: HTTPStatus.NOT_FOUND,
    PhotoUnusable: HTTPStatus.UNPROCESSABLE_ENTITY,
    InvalidFilter: HTTPStatus.UNPROCESSABLE_ENTITY,
    InvalidQuery: HTTPStatus.UNPROCESSABLE_ENTITY,
    QueryOutdated: HTTPStatus.CONFLICT,
    ListingConflict: HTTPStatus.CONFLICT,
    IngestRunning: HTTPStatus.CONFLICT,
    BuildRefused: HTTPStatus.CONFLICT,
    CollectionMissing: HTTPStatus.SERVICE_UNAVAILABLE,
    CollectionReplaced: HTTPStatus.SERVICE_UNAVAILABLE,
    ModelMismatch: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreUnreachable: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreLocked: HTTPStatus.SERVICE_UNAVAILABLE,
    VerdictsUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreFailed: HTTPStatus.BAD_GATEWAY,
    LedgerBroken: HTTPStatus.BAD_GATEWAY,
    OutputFailed: HTTPStatus.INSUFFICIENT_STORAGE,
    Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    StageTooSlow: HTTPStatus.SERVICE_UNAVAILABLE,
}

# A queue of photos empties within seconds; a Milvus restart or a model load takes longer.
_RETRY_SECONDS = {Overloaded: 1, StageTooSlow: 1}
_RETRY_LATER_SECONDS = 5

logger = logging.getLogger("marketlens.api")


def install(app: FastAPI) -> None:
    """Return every error, ours or the framework's, as problem+json with the request's id."""
    app.add_exception_handler(MarketlensError, _domain_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)


async def _domain_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MarketlensError)  # noqa: S101 - registered for this type above
    status = _status(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and type(error) not in _RETRY_SECONDS:
        trace = error if status == HTTPStatus.INTERNAL_SERVER_ERROR else None
        logger.error("%s %s: %s: %s", request.method, request.url.path, error.code, error.message, exc_info=trace)
    response = _response(problem_of(error))
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(_RETRY_SECONDS.get(type(error), _RETRY_LATER_SECONDS))
    return response


async def _invalid_request(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type above
    return _response(invalid_request(error.errors()))


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type above
    status = HTTPStatus(error.status_code)
    response = problem_response(status, error.detail, code=status.name.lower())
    response.headers.update(error.headers or {})
    return response


def internal_error(request: Request, error: Exception) -> JSONResponse:
    """Log an unexpected error and build the response, which does not reveal it."""
    logger.error("%s %s: unexpected error", request.method, request.url.path, exc_info=error)
    return problem_response(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The server failed unexpectedly.",
        code="internal_error",
        hint="Please report this with the request id; the log has the details.",
    )


def problem_of(error: MarketlensError) -> Problem:
    """Convert a domain error."""
    errors = [{"field": "photo", "message": error.reason}] if isinstance(error, PhotoUnusable) else []
    return _problem(_status(error), error.message, code=error.code, hint=error.hint, errors=errors)


def invalid_request(validation_errors: Sequence[Mapping[str, Any]]) -> Problem:
    """Name the invalid fields. `validation_errors` is pydantic's list."""
    # Without the values: they would include an upload's bytes.
    errors = [
        {
            "field": ".".join(str(part) for part in item["loc"]) or "body",
            "message": item["msg"].removeprefix("Value error, "),
        }
        for item in validation_errors
    ]
    detail = "; ".join(f"{item['field']}: {item['message']}" for item in errors)
    return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, code="invalid_request", errors=errors)


def is_callers_fault(error: MarketlensError) -> bool:
    """Whether the request is at fault, so that another request may succeed."""
    return _status(error) < HTTPStatus.INTERNAL_SERVER_ERROR


def problem_response(status: HTTPStatus, detail: str, *, code: str, hint: str = "") -> JSONResponse:
    """Build a problem+json response."""
    return _response(_problem(status, detail, code=code, hint=hint))


def _status(error: MarketlensError) -> HTTPStatus:
    return STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)


def _problem(
    status: HTTPStatus, detail: str, *, code: str, hint: str = "", errors: Sequence[dict[str, str]] = ()
) -> Problem:
    return Problem(
        title=status.phrase,
        status=status,
        detail=detail,
        code=code,
        hint=hint,
        request_id=correlation_id.get() or "",
        errors=list(errors),
    )


def _response(body: Problem) -> JSONResponse:
    return JSONResponse(body.model_dump(), body.status, media_type="application/problem+json")

"""Domain errors -> problem+json (RFC 9457). The one table that gives each error its status."""

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

# A queue of photos is worked off within seconds; a Milvus that restarts or a model that loads takes longer.
_RETRY_SECONDS = {Overloaded: 1, StageTooSlow: 1}
_RETRY_LATER_SECONDS = 5

logger = logging.getLogger("marketlens.api")


def install(app: FastAPI) -> None:
    """Answer every error, our own or the framework's, as problem+json with the request's id."""
    app.add_exception_handler(MarketlensError, _domain_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)


async def _domain_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MarketlensError)  # noqa: S101 - registered for this type above
    status = _status(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and type(error) not in _RETRY_SECONDS:
        trace = error if status == HTTPStatus.INTERNAL_SERVER_ERROR else None
        logger.error("%s %s: %s: %s", request.method, request.url.path, error.code, error.message, exc_info=trace)
    answer = _response(problem_of(error))
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        answer.headers["Retry-After"] = str(_RETRY_SECONDS.get(type(error), _RETRY_LATER_SECONDS))
    return answer


async def _invalid_request(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type above
    return _response(invalid_request(error.errors()))


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type above
    status = HTTPStatus(error.status_code)
    answer = problem(status, error.detail, code=status.name.lower())
    answer.headers.update(error.headers or {})
    return answer


def bug(request: Request, error: Exception) -> JSONResponse:
    """Log an error that nobody foresaw, and word the answer, which says nothing of it."""
    logger.error("%s %s: unexpected error", request.method, request.url.path, exc_info=error)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The server failed in a way that it should not.",
        code="internal_error",
        hint="Please report it with the request id; the log has the details.",
    )


def problem_of(error: MarketlensError) -> Problem:
    """Put a domain error into the words of the API."""
    errors = [{"field": "photo", "message": error.reason}] if isinstance(error, PhotoUnusable) else []
    return _problem(_status(error), error.message, code=error.code, hint=error.hint, errors=errors)


def invalid_request(found: Sequence[Mapping[str, Any]]) -> Problem:
    """Say which fields are wrong; `found` is as pydantic lists it."""
    # Not the values: an upload's bytes would come back as well.
    errors = [
        {
            "field": ".".join(str(part) for part in item["loc"]) or "body",
            "message": item["msg"].removeprefix("Value error, "),
        }
        for item in found
    ]
    detail = "; ".join(f"{item['field']}: {item['message']}" for item in errors)
    return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, code="invalid_request", errors=errors)


def is_callers_fault(error: MarketlensError) -> bool:
    """Whether another request would be answered where this one was not."""
    return _status(error) < HTTPStatus.INTERNAL_SERVER_ERROR


def problem(status: HTTPStatus, detail: str, *, code: str, hint: str = "") -> JSONResponse:
    """Build the answer."""
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

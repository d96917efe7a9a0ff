"""Domain errors -> problem+json (RFC 9457). The one table that gives each error its status."""

import logging
from http import HTTPStatus

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
    InvalidFilter,
    InvalidQuery,
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
)
from search_api.schemas import Problem

STATUS: dict[type[MarketlensError], HTTPStatus] = {
    NotFound: HTTPStatus.NOT_FOUND,
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
    StoreFailed: HTTPStatus.BAD_GATEWAY,
    OutputFailed: HTTPStatus.INSUFFICIENT_STORAGE,
}

logger = logging.getLogger("marketlens.api")


def install(app: FastAPI) -> None:
    """Answer every error, our own or the framework's, as problem+json with the request's id."""
    app.add_exception_handler(MarketlensError, _domain_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)


async def _domain_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MarketlensError)  # noqa: S101 - registered for this type above
    status = STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        trace = error if status == HTTPStatus.INTERNAL_SERVER_ERROR else None
        logger.error("%s %s: %s: %s", request.method, request.url.path, error.code, error.message, exc_info=trace)
    errors = [{"field": "photo", "message": error.reason}] if isinstance(error, PhotoUnusable) else None
    return problem(status, error.message, code=error.code, hint=error.hint, errors=errors)


async def _invalid_request(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type above
    # Not the values: an upload's bytes would come back as well.
    errors = [
        {
            "field": ".".join(str(part) for part in item["loc"]) or "body",
            "message": item["msg"].removeprefix("Value error, "),
        }
        for item in error.errors()
    ]
    detail = "; ".join(f"{item['field']}: {item['message']}" for item in errors)
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, code="invalid_request", errors=errors)


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type above
    status = HTTPStatus(error.status_code)
    answer = problem(status, error.detail, code=status.name.lower())
    answer.headers.update(error.headers or {})
    return answer


async def _bug(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s: unexpected error", request.method, request.url.path, exc_info=error)
    answer = problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The server failed in a way that it should not.",
        code="internal_error",
        hint="Please report it with the request id; the log has the details.",
    )
    # This one is sent from outside of the middleware that sets the header on every other answer.
    answer.headers["X-Request-ID"] = correlation_id.get() or ""
    return answer


def problem(
    status: HTTPStatus, detail: str, *, code: str, hint: str = "", errors: list[dict[str, str]] | None = None
) -> JSONResponse:
    """Build the answer."""
    body = Problem(
        title=status.phrase,
        status=status,
        detail=detail,
        code=code,
        hint=hint,
        request_id=correlation_id.get() or "",
        errors=errors or [],
    )
    return JSONResponse(body.model_dump(), status, media_type="application/problem+json")

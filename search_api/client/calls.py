"""Requests and responses of both clients, sync and async: build calls, read answers, decide on retries."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError
from tenacity import RetryCallState

from search_api import schemas

_MAX_RETRY_SECONDS = 10.0
_RETRY_STATUSES = (429, 503)

Answer = TypeVar("Answer", bound=BaseModel)
Photos = Sequence[bytes]


class ApiError(Exception):
    """A request failed. `status` is 0 and `code` is empty if there was no response.

    `errors` lists the invalid fields; `retry_after` is the number of seconds before a retry, None if it is useless.
    """

    def __init__(
        self,
        detail: str,
        hint: str = "",
        *,
        status: int = 0,
        code: str = "",
        request_id: str = "",
        errors: Sequence[Mapping[str, str]] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.status = status
        self.code = code
        self.request_id = request_id
        self.errors = list(errors)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """A request, and the type of its answer."""

    answer: type[Answer]
    method: str
    path: str
    options: dict[str, Any] = field(default_factory=dict)


def post(
    answer: type[Answer], path: str, message: BaseModel, photos: Photos, *, method: str = "POST", part: str = "request"
) -> Call[Answer]:
    """Build a request with a JSON message; with photos, it is sent as a multipart form."""
    fields = message.model_dump(mode="json", exclude_unset=True)
    if not photos:
        return Call(answer, method, path, {"json": fields})
    files = [("photo", (f"photo-{number}", photo)) for number, photo in enumerate(photos)]
    return Call(answer, method, path, {"files": files, "data": {part: json.dumps(fields)}})


def get(answer: type[Answer], path: str, **params: str | float | bool | None) -> Call[Answer]:
    """Build a GET request with these parameters, except those that are None."""
    return Call(answer, "GET", path, {"params": {name: value for name, value in params.items() if value is not None}})


def decide(put: schemas.PutVerdict) -> Call[schemas.Verdict]:
    """Build the request for a decision. It includes defaults, because the question's `kind` is rarely set."""
    return Call(schemas.Verdict, "POST", "/v1/verdicts", {"json": put.model_dump(mode="json")})


def similar(listing_id: str, limit: int, cursor: str | None) -> Call[schemas.SearchResponse]:
    """Build the request for listings similar to this one."""
    params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
    return Call(schemas.SearchResponse, "GET", f"{listing_path(listing_id)}/similar", {"params": params})


def batch(searches: Sequence[schemas.SearchRequest], photos: Photos) -> Call[schemas.BatchResponse]:
    """Build the request for several searches at once."""
    messages = [search.model_dump(mode="json", exclude_unset=True) for search in searches]
    return post(schemas.BatchResponse, "/v1/search/batch", schemas.BatchRequest(searches=messages), photos)


def listing_path(listing_id: str) -> str:
    """Return the path of a listing, with any id quoted."""
    return f"/v1/listings/{quote(listing_id, safe='')}"


def plot_path(model_fingerprint: str, name: str) -> str:
    """Return the path of a model's plot."""
    return f"/v1/models/{quote(model_fingerprint, safe='')}/plots/{quote(name, safe='')}"


def next_page(request: schemas.SearchRequest, answer: schemas.SearchResponse) -> schemas.SearchRequest | None:
    """Return the request for the page after this answer, by its query_id; None after the last page."""
    if answer.cursor is None:
        return None
    source = dict.fromkeys(schemas.Source.model_fields)
    fields = {name: getattr(request, name) for name in request.model_fields_set - source.keys()}
    return schemas.SearchRequest(**fields | {"query_id": answer.query_id, "cursor": answer.cursor})


def read_bytes(url: str, response: httpx.Response) -> bytes:
    """Return the body of a response. Raises ApiError if the API refused the request."""
    if not response.is_success:
        raise _refusal(url, response)
    return response.content


def read_answer(call: Call[Answer], url: str, response: httpx.Response) -> Answer:
    """Parse a response. Raises ApiError if the API refused the request or the body has another format."""
    try:
        return call.answer.model_validate_json(read_bytes(url, response))
    except ValidationError as error:
        raise _unknown_format(url, response) from error


def no_response(url: str, error: Exception) -> ApiError:
    """Return the error for a request without a response."""
    if isinstance(error, httpx.TimeoutException):
        return ApiError(
            f"The API at {url} took too long to answer.", "Try again; if it happens again, check the API's log."
        )
    return ApiError(f"No answer from the API at {url}.", "Start it with `marketlens serve`.")


def is_retryable(error: BaseException) -> bool:
    """Whether the API asked for a retry."""
    return isinstance(error, ApiError) and error.retry_after is not None


def retry_delay(state: RetryCallState) -> float:
    """Return the seconds until the next attempt: what the API asked for, up to a limit."""
    error = state.outcome.exception() if state.outcome else None
    return min(error.retry_after or 0.0, _MAX_RETRY_SECONDS) if isinstance(error, ApiError) else 0.0


def _refusal(url: str, response: httpx.Response) -> ApiError:
    try:
        problem = schemas.Problem.model_validate_json(response.content)
    except ValidationError:
        return _unknown_format(url, response)
    return ApiError(
        problem.detail,
        problem.hint,
        status=problem.status,
        code=problem.code,
        request_id=problem.request_id,
        errors=problem.errors,
        retry_after=_retry_after(response),
    )


def _unknown_format(url: str, response: httpx.Response) -> ApiError:
    return ApiError(
        f"{url} answered with status {response.status_code}, but not as the marketlens API does.",
        "Check the address, and any proxy in between.",
        status=response.status_code,
        retry_after=_retry_after(response),
    )


def _retry_after(response: httpx.Response) -> float | None:
    seconds = response.headers.get("retry-after", "")
    return float(seconds) if response.status_code in _RETRY_STATUSES and seconds.isdecimal() else None

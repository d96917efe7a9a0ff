"""What the client sends and how it reads the answer; sync or async makes no difference here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError
from tenacity import RetryCallState

from search_api import schemas

_LONGEST_PAUSE = 10.0
_RETRIED = (429, 503)

Answer = TypeVar("Answer", bound=BaseModel)
Photos = Sequence[bytes]


class ApiError(Exception):
    """Why there is no answer. `status` is 0 and `code` is empty where none came at all.

    `errors` are the wrong fields, `retry_after` the seconds after which another try makes sense, if any.
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
    """A request, and what its answer is read as."""

    answer: type[Answer]
    method: str
    path: str
    options: dict[str, Any] = field(default_factory=dict)


def post(
    answer: type[Answer], path: str, message: BaseModel, photos: Photos, *, method: str = "POST", part: str = "request"
) -> Call[Answer]:
    """Send a message as JSON, or in a form beside photos."""
    fields = message.model_dump(mode="json", exclude_unset=True)
    if not photos:
        return Call(answer, method, path, {"json": fields})
    files = [("photo", (f"photo-{number}", photo)) for number, photo in enumerate(photos)]
    return Call(answer, method, path, {"files": files, "data": {part: json.dumps(fields)}})


def get(answer: type[Answer], path: str, **params: str | float | bool | None) -> Call[Answer]:
    """Ask with these parameters, those that are None left out."""
    return Call(answer, "GET", path, {"params": {name: value for name, value in params.items() if value is not None}})


def decide(put: schemas.PutVerdict) -> Call[schemas.Verdict]:
    """Send a decision; the question's kind, which nobody has to set, goes along."""
    return Call(schemas.Verdict, "POST", "/v1/verdicts", {"json": put.model_dump(mode="json")})


def similar(listing_id: str, limit: int, cursor: str | None) -> Call[schemas.SearchResponse]:
    """Ask for listings like this one."""
    params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
    return Call(schemas.SearchResponse, "GET", f"{listing_path(listing_id)}/similar", {"params": params})


def batch(searches: Sequence[schemas.SearchRequest], photos: Photos) -> Call[schemas.BatchResponse]:
    """Ask for many answers."""
    dumped = [one.model_dump(mode="json", exclude_unset=True) for one in searches]
    return post(schemas.BatchResponse, "/v1/search/batch", schemas.BatchRequest(searches=dumped), photos)


def listing_path(listing_id: str) -> str:
    """Path of a listing, whatever its id holds."""
    return f"/v1/listings/{quote(listing_id, safe='')}"


def plot_path(model_fingerprint: str, name: str) -> str:
    """Path of a model's picture."""
    return f"/v1/models/{quote(model_fingerprint, safe='')}/plots/{quote(name, safe='')}"


def next_page(request: schemas.SearchRequest, answer: schemas.SearchResponse) -> schemas.SearchRequest | None:
    """The request for the page after this answer, by its query_id; None at the end."""
    if answer.cursor is None:
        return None
    source = dict.fromkeys(schemas.Source.model_fields)
    kept = {name: getattr(request, name) for name in request.model_fields_set - source.keys()}
    return schemas.SearchRequest(**kept | {"query_id": answer.query_id, "cursor": answer.cursor})


def content(url: str, response: httpx.Response) -> bytes:
    """The bytes of an answer. Raises ApiError where it is a refusal."""
    if not response.is_success:
        raise _refusal(url, response)
    return response.content


def read(call: Call[Answer], url: str, response: httpx.Response) -> Answer:
    """Raises ApiError for every answer that is not what was asked for."""
    try:
        return call.answer.model_validate_json(content(url, response))
    except ValidationError as error:
        raise _stranger(url, response) from error


def no_answer(url: str, error: Exception) -> ApiError:
    """Word what kept a request from being answered."""
    if isinstance(error, httpx.TimeoutException):
        return ApiError(
            f"The API at {url} took too long to answer.", "Try again; if it stays so, look at the API's log."
        )
    return ApiError(f"No answer from the API at {url}.", "Start it with `marketlens serve`.")


def may_try_again(error: BaseException) -> bool:
    """Whether the API said that it will answer later."""
    return isinstance(error, ApiError) and error.retry_after is not None


def pause(state: RetryCallState) -> float:
    """Seconds until the next try: as the API says."""
    error = state.outcome.exception() if state.outcome else None
    return min(error.retry_after or 0.0, _LONGEST_PAUSE) if isinstance(error, ApiError) else 0.0


def _refusal(url: str, response: httpx.Response) -> ApiError:
    try:
        problem = schemas.Problem.model_validate_json(response.content)
    except ValidationError:
        return _stranger(url, response)
    return ApiError(
        problem.detail,
        problem.hint,
        status=problem.status,
        code=problem.code,
        request_id=problem.request_id,
        errors=problem.errors,
        retry_after=_retry_after(response),
    )


def _stranger(url: str, response: httpx.Response) -> ApiError:
    return ApiError(
        f"{url} answered with status {response.status_code}, but not as the marketlens API does.",
        "Check the address, and any proxy in between.",
        status=response.status_code,
        retry_after=_retry_after(response),
    )


def _retry_after(response: httpx.Response) -> float | None:
    said = response.headers.get("retry-after", "")
    return float(said) if response.status_code in _RETRIED and said.isdecimal() else None

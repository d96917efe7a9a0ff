"""The API as the dashboard sees it: typed answers, and one kind of error with something to tell the user."""

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from search_api.schemas import (
    CategoriesResponse,
    Health,
    ListingResponse,
    MapResponse,
    Problem,
    SearchRequest,
    SearchResponse,
)

ANSWER_SECONDS = 30.0
MAP_SECONDS = 180.0  # the first map of a collection is a t-SNE over thousands of photos

Answer = TypeVar("Answer", bound=BaseModel)


class ApiError(Exception):
    """Why there is no answer, in words for the user."""

    def __init__(self, detail: str, hint: str = "", request_id: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.request_id = request_id


class Api:
    """One API, at one address."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(timeout=httpx.Timeout(ANSWER_SECONDS, connect=5.0))

    def ready(self) -> Health:
        """Say which collection answers, or raise why none does."""
        return self._ask(Health, "GET", "/readyz")

    def categories(self) -> CategoriesResponse:
        """Every category with its counts."""
        return self._ask(CategoriesResponse, "GET", "/v1/categories")

    def listing(self, listing_id: str) -> ListingResponse:
        """One listing with all its photos."""
        return self._ask(ListingResponse, "GET", f"/v1/listings/{quote(listing_id, safe='')}")

    def search(self, request: SearchRequest, photo: bytes | None = None) -> SearchResponse:
        """Search by the request's listing, or by an uploaded photo."""
        fields = request.model_dump(exclude_defaults=True)
        if photo is None:
            return self._ask(SearchResponse, "POST", "/v1/search", json=fields)
        return self._ask(SearchResponse, "POST", "/v1/search", data=fields, files={"photo": ("photo", photo)})

    def map(self) -> MapResponse:
        """Fetch the 2-D map of the photos."""
        return self._ask(MapResponse, "GET", "/v1/map", timeout=MAP_SECONDS)

    def photo_address(self, photo_url: str, size: int) -> str:
        """Address from which a browser loads a photo, `size` pixels on its longer side."""
        return f"{self.url}{photo_url}?size={size}"

    def _ask(self, model: type[Answer], method: str, path: str, **options: Any) -> Answer:
        try:
            response = self._client.request(method, self.url + path, **options)
        except httpx.TimeoutException as error:
            raise ApiError(
                f"The API at {self.url} took too long to answer.", "Try again; if it stays so, look at the API's log."
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ApiError(f"No answer from the API at {self.url}.", "Start it with `marketlens serve`.") from error
        if not response.is_success:
            raise self._refusal(response)
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise self._stranger(response) from error

    def _refusal(self, response: httpx.Response) -> ApiError:
        try:
            problem = Problem.model_validate_json(response.content)
        except ValidationError:
            return self._stranger(response)
        wrong_fields = "".join(f"\n{_in_words(field)}" for field in problem.errors)
        return ApiError(problem.detail + wrong_fields, problem.hint, problem.request_id)

    def _stranger(self, response: httpx.Response) -> ApiError:
        return ApiError(
            f"{self.url} answered with status {response.status_code}, but not as the marketlens API does.",
            "Check MARKETLENS_DASHBOARD__API_URL, and any proxy in between.",
        )


def _in_words(field: Mapping[str, str]) -> str:
    return ": ".join(field.values())

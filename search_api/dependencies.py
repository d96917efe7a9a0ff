"""The dependencies of routes, as named types. The objects are created once, in `create_app`.

Frequent ones are coroutines: FastAPI runs any other function in a thread, and that costs more than the work itself.

Scopes: put `dependencies=[Depends(needs("read"))]` on a router, or `needs("write")`, `needs("admin")` on a route. While
the service has no keys (loopback only), every caller has every scope.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, HTTPException, Query, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.concurrency import run_in_threadpool

from catalog.runs.ledger import Ledger
from catalog.settings import ApiSettings
from catalog.verdicts import VerdictStore
from search_api.auth.api_keys import KeyRing, Scope
from search_api.auth.signed_urls import PhotoUrls
from search_api.middleware.authentication import Caller
from search_api.review.latest_insights import InsightTables, LatestInsights
from search_api.review.map_response import MapCache
from search_api.serving.live_catalogue import LiveBuild, LiveCatalogue
from search_api.telemetry.activity import Activity
from search_api.telemetry.metrics import Metrics

# They only describe the headers in the OpenAPI document: `Authentication` has read the key before a route runs.
_KEY_SCHEMES = (
    Security(HTTPBearer(auto_error=False, scheme_name="key", description="`Authorization: Bearer KEY`")),
    Security(APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="header")),
)


async def _settings(request: Request) -> ApiSettings:
    settings: ApiSettings = request.app.state.settings
    return settings


async def _catalogue(request: Request) -> LiveCatalogue:
    catalogue: LiveCatalogue = request.app.state.catalogue
    return catalogue


async def _live(request: Request) -> LiveBuild:
    return await run_in_threadpool((await _catalogue(request)).current)


async def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


async def _photo_url(request: Request) -> Callable[[str], str]:
    urls: PhotoUrls = request.app.state.photo_urls
    return urls.url


def _ring(request: Request) -> KeyRing:
    ring: KeyRing = request.app.state.ring
    return ring


def _verdicts(request: Request) -> VerdictStore:
    verdicts: VerdictStore = request.app.state.verdicts
    return verdicts


def _ledger(request: Request) -> Ledger:
    ledger: Ledger = request.app.state.ledger
    return ledger


def _activity(request: Request) -> Activity:
    activity: Activity = request.app.state.activity
    return activity


def _maps(request: Request) -> MapCache:
    maps: MapCache = request.app.state.maps
    return maps


LiveDep = Annotated[LiveBuild, Depends(_live)]


def _insights(request: Request, live: LiveDep) -> InsightTables:
    latest: LatestInsights = request.app.state.insights
    return latest.of(live.info.name)


SettingsDep = Annotated[ApiSettings, Depends(_settings)]
CatalogueDep = Annotated[LiveCatalogue, Depends(_catalogue)]
MetricsDep = Annotated[Metrics, Depends(_metrics)]
CallerDep = Annotated[Caller, Depends(_caller)]
PhotoUrlDep = Annotated[Callable[[str], str], Depends(_photo_url)]
RingDep = Annotated[KeyRing, Depends(_ring)]
VerdictsDep = Annotated[VerdictStore, Depends(_verdicts)]
InsightsDep = Annotated[InsightTables, Depends(_insights)]
MapsDep = Annotated[MapCache, Depends(_maps)]
LedgerDep = Annotated[Ledger, Depends(_ledger)]
ActivityDep = Annotated[Activity, Depends(_activity)]


def needs(scope: Scope) -> Callable[..., Awaitable[None]]:
    """Return a dependency that requires this scope: 401 without a valid key, 403 if the key's scope is too narrow."""

    async def check(caller: CallerDep, _bearer: object = _KEY_SCHEMES[0], _header: object = _KEY_SCHEMES[1]) -> None:
        _require(caller, scope)

    return check


async def needs_photo(
    request: Request,
    caller: CallerDep,
    photo_id: str,
    signature: Annotated[str, Query(description="From a `photo_url`: replaces the key until it expires.")] = "",
) -> None:
    """Require the scope `read`, or a valid signature for this photo."""
    urls: PhotoUrls = request.app.state.photo_urls
    if not (signature and urls.is_valid(photo_id, signature)):
        _require(caller, "read")


def unauthorized() -> HTTPException:
    """Return the 401 error: identical for a missing, malformed, unknown or revoked key."""
    return HTTPException(
        HTTPStatus.UNAUTHORIZED,
        "This needs an API key: Authorization: Bearer KEY, or X-API-Key: KEY.",
        {"WWW-Authenticate": "Bearer"},
    )


def _require(caller: Caller, scope: Scope) -> None:
    if caller.scope is None:
        raise unauthorized()
    if not caller.may(scope):
        raise HTTPException(
            HTTPStatus.FORBIDDEN, f"This needs a key with the scope {scope}; {caller.name} has {caller.scope}."
        )

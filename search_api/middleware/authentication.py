"""Authentication and rate limits: finds the request's key and counts the request against its limit."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from limits import RateLimitItem
from limits import parse as parse_rate
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catalog.errors import InvalidSetting
from search_api.auth import api_keys
from search_api.auth.api_keys import SCOPES, KeyRing
from search_api.errors import problem_response
from search_api.telemetry.metrics import Metrics

# Load balancers request these every second; they cost nothing.
UNLIMITED_PATHS = {"/livez", "/readyz"}


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller: a nameless admin if the service has no keys. `sent_key`: whether a key was sent, even a wrong one."""

    name: str
    scope: api_keys.Scope | None
    sent_key: bool = False

    def may(self, scope: api_keys.Scope) -> bool:
        """Whether the caller has this scope."""
        return self.scope is not None and SCOPES.index(self.scope) >= SCOPES.index(scope)


class RateLimit:
    """Limits the requests per key, or per address for requests without a key. Each process counts its own."""

    def __init__(self, rate: str) -> None:
        """`rate` is like `600/minute`; empty for no limit. Raises InvalidSetting."""
        try:
            self.item: RateLimitItem | None = parse_rate(rate) if rate else None
        except ValueError as error:
            raise InvalidSetting(
                f"MARKETLENS_API__RATE_LIMIT: {rate!r} is not a rate.", hint="Write it like 600/minute or 10/second."
            ) from error
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def count(self, item: RateLimitItem, caller_id: str) -> tuple[bool, Mapping[str, str]]:
        """Count a request. Return whether it is allowed, and the RateLimit headers."""
        is_allowed = self._limiter.hit(item, caller_id)
        window = self._limiter.get_window_stats(item, caller_id)
        seconds = str(max(1, round(window.reset_time - time.time())))
        headers = {
            "RateLimit-Limit": str(item.amount),
            "RateLimit-Remaining": str(window.remaining),
            "RateLimit-Reset": seconds,
        }
        return is_allowed, headers if is_allowed else headers | {"Retry-After": seconds}


class Authentication:
    """ASGI middleware: puts the `Caller` into the request's state, or responds with 429."""

    def __init__(self, app: ASGIApp, ring: KeyRing, limit: RateLimit, metrics: Metrics) -> None:
        self._app = app
        self._ring = ring
        self._limit = limit
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = self._caller(scope)
        scope.setdefault("state", {})["caller"] = caller
        item = self._limit.item
        if item is None or not self._ring.required or scope["path"] in UNLIMITED_PATHS:
            await self._app(scope, receive, send)
            return
        # Prefixed, so that no key can share its count with an address.
        address = scope["client"][0] if scope.get("client") else ""
        is_allowed, headers = self._limit.count(item, f"key {caller.name}" if caller.name else f"address {address}")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        if is_allowed:
            await self._app(scope, receive, send_with_headers)
            return
        self._metrics.rejected.labels("rate_limit").inc()
        response = problem_response(
            HTTPStatus.TOO_MANY_REQUESTS,
            f"More than {item} with this key." if caller.name else f"More than {item} from this address.",
            code="too_many_requests",
            hint="Wait as many seconds as Retry-After says, then try again.",
        )
        await response(scope, receive, send_with_headers)

    def _caller(self, scope: Scope) -> Caller:
        headers = Headers(scope=scope)
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            token = headers.get("x-api-key", "")
        key = self._ring.find(token.strip())
        if not self._ring.required:
            return Caller("", "admin")
        return Caller(key.name, key.scope, sent_key=True) if key else Caller("", None, sent_key=bool(token))

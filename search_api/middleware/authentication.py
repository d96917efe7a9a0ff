"""Who asks, and how often they may: finds the request's key and counts it against the rate limit."""

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
from search_api.errors import problem
from search_api.telemetry.metrics import Metrics

# What load balancers ask every second, with nothing in the answer that cost anything.
UNCOUNTED = {"/livez", "/readyz"}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. Without keys everybody may do everything, and has no name. `tried`: a key was sent, right or wrong."""

    name: str
    scope: api_keys.Scope | None
    tried: bool = False

    def may(self, scope: api_keys.Scope) -> bool:
        """Whether the caller has this scope."""
        return self.scope is not None and SCOPES.index(self.scope) >= SCOPES.index(scope)


class RateLimit:
    """So many requests per key, or per address of those without one. This process's requests alone."""

    def __init__(self, rate: str) -> None:
        """`rate` as in `600/minute`; empty for none. Raises InvalidSetting."""
        try:
            self.item: RateLimitItem | None = parse_rate(rate) if rate else None
        except ValueError as error:
            raise InvalidSetting(
                f"MARKETLENS_API__RATE_LIMIT: {rate!r} is no rate.", hint="Write it like 600/minute or 10/second."
            ) from error
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def count(self, item: RateLimitItem, who: str) -> tuple[bool, Mapping[str, str]]:
        """Count a request. Returns whether it may pass, and the headers that say how many more may."""
        passes = self._limiter.hit(item, who)
        left = self._limiter.get_window_stats(item, who)
        seconds = str(max(1, round(left.reset_time - time.time())))
        headers = {
            "RateLimit-Limit": str(item.amount),
            "RateLimit-Remaining": str(left.remaining),
            "RateLimit-Reset": seconds,
        }
        return passes, headers if passes else headers | {"Retry-After": seconds}


class Authentication:
    """ASGI middleware: puts the `Caller` into the request's state, or answers 429."""

    def __init__(self, app: ASGIApp, ring: KeyRing, limit: RateLimit, metrics: Metrics) -> None:
        self._app = app
        self._ring = ring
        self._limit = limit
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caller = self._caller(scope)
        scope.setdefault("state", {})["caller"] = caller
        item = self._limit.item
        if item is None or not self._ring.required or scope["path"] in UNCOUNTED:
            await self._app(scope, receive, send)
            return
        # Two words, so that no key can bear the name of an address.
        address = scope["client"][0] if scope.get("client") else ""
        passes, headers = self._limit.count(item, f"key {caller.name}" if caller.name else f"address {address}")

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        if passes:
            await self._app(scope, receive, send_counted)
            return
        self._metrics.rejected.labels("rate_limit").inc()
        answer = problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            f"More than {item} for this key." if caller.name else f"More than {item} from this address.",
            code="too_many_requests",
            hint="Try again after the seconds that Retry-After says.",
        )
        await answer(scope, receive, send_counted)

    def _caller(self, scope: Scope) -> Caller:
        headers = Headers(scope=scope)
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            token = headers.get("x-api-key", "")
        key = self._ring.find(token.strip())
        if not self._ring.required:
            return Caller("", "admin")
        return Caller(key.name, key.scope, tried=True) if key else Caller("", None, tried=bool(token))

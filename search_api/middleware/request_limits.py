"""Requests as they come in: so many bytes, in so much time; and the work ends when its client has left."""

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from search_api.telemetry.metrics import Metrics

# Names of parts, fields and boundaries beside the photos.
_FORM_OVERHEAD = 100_000


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


class RequestLimits:
    """ASGI middleware. The innermost: what it raises becomes an answer as any other error of a route does."""

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float, metrics: Metrics) -> None:
        """A body may have `max_bytes` and a little for its form, and take `seconds` to come."""
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises ClientLeft."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - servers run each request in a task
        # One message ahead of the route, so that a large body is not taken before it is asked for.
        messages: asyncio.Queue[Message] = asyncio.Queue(1)
        answered = left = False

        async def listen() -> None:
            nonlocal left
            gone = False
            while not gone:
                message = await receive()
                gone = message["type"] == "http.disconnect"
                if gone and not answered:
                    left = True
                    task.cancel()
                await messages.put(message)

        async def send_noted(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        listener = asyncio.create_task(listen())
        try:
            await self._app(scope, self._limited(scope, messages), send_noted)
        except asyncio.CancelledError:
            if not left:
                raise
            task.uncancel()
            raise ClientLeft from None
        finally:
            listener.cancel()

    def _limited(self, scope: Scope, messages: asyncio.Queue[Message]) -> Receive:
        declared = Headers(scope=scope).get("content-length", "")
        received, complete = 0, False
        deadline = asyncio.get_running_loop().time() + self._seconds

        async def receive() -> Message:
            nonlocal received, complete
            self._check(int(declared) if declared.isdecimal() else 0)
            try:
                # Once the body is there, this waits for the client to leave.
                async with asyncio.timeout_at(None if complete else deadline):
                    message = await messages.get()
            except TimeoutError:
                raise self._refusal(
                    408, "body_too_slow", f"The body did not come within {self._seconds:g} s."
                ) from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            self._check(received)
            return message

        return receive

    def _check(self, length: int) -> None:
        if length > self._max_bytes + _FORM_OVERHEAD:
            raise self._refusal(
                413, "body_too_large", f"The body has {length:,} bytes or more; at most {self._max_bytes:,} are taken."
            )

    def _refusal(self, status: int, reason: str, detail: str) -> HTTPException:
        self._metrics.rejected.labels(reason).inc()
        # The rest of the body is not read, so this connection can carry no other request.
        return HTTPException(status, detail, {"Connection": "close"})

"""Limits on a request: its size and the time it may take to arrive. Cancels the work if the client disconnects."""

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from search_api.telemetry.metrics import Metrics

# Part names, fields and boundaries, in addition to the photos.
_FORM_OVERHEAD = 100_000


class ClientLeft(Exception):
    """The client disconnected before the response."""


class RequestLimits:
    """ASGI middleware. It must be the innermost one, so that its errors become responses like those of a route."""

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float, metrics: Metrics) -> None:
        """Allow a body of `max_bytes` plus the overhead of a form, arriving within `seconds`."""
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request. Raises ClientLeft."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - servers run each request in a task
        # Only one message ahead of the route, so that a large body is not received before the route reads it.
        messages: asyncio.Queue[Message] = asyncio.Queue(1)
        responded = client_left = False

        async def listen() -> None:
            nonlocal client_left
            disconnected = False
            while not disconnected:
                message = await receive()
                disconnected = message["type"] == "http.disconnect"
                if disconnected and not responded:
                    client_left = True
                    task.cancel()
                await messages.put(message)

        async def send_and_note(message: Message) -> None:
            nonlocal responded
            responded = True
            await send(message)

        listener = asyncio.create_task(listen())
        try:
            await self._app(scope, self._limited(scope, messages), send_and_note)
        except asyncio.CancelledError:
            if not client_left:
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
                # Once the body is complete, this waits for the client to disconnect.
                async with asyncio.timeout_at(None if complete else deadline):
                    message = await messages.get()
            except TimeoutError:
                raise self._refusal(
                    408, "body_too_slow", f"The body did not arrive within {self._seconds:g} s."
                ) from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            self._check(received)
            return message

        return receive

    def _check(self, length: int) -> None:
        if length > self._max_bytes + _FORM_OVERHEAD:
            raise self._refusal(
                413, "body_too_large", f"The body has {length:,} bytes or more; the limit is {self._max_bytes:,}."
            )

    def _refusal(self, status: int, reason: str, detail: str) -> HTTPException:
        self._metrics.rejected.labels(reason).inc()
        # The rest of the body is not read, so this connection cannot carry another request.
        return HTTPException(status, detail, {"Connection": "close"})

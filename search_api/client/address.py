"""The address of the API: base class of both clients."""

import httpx

ANSWER_SECONDS = 30.0


class ApiAddress:
    """The URL of the API, and the key and timeout of requests to it."""

    def __init__(self, url: str, key: str, seconds: float, public_url: str) -> None:
        self.url = url.rstrip("/")
        self.public_url = public_url.rstrip("/") or self.url
        # httpx encodes text as ASCII by default. A key with other characters is sent too, and the API refuses it.
        self._headers = httpx.Headers({"Authorization": f"Bearer {key}"} if key else {}, encoding="utf-8")
        self._timeout = httpx.Timeout(seconds, connect=min(5.0, seconds))

    def photo_address(self, photo_url: str, size: int) -> str:
        """Return the address from which a browser loads a photo, `size` pixels on its longer side."""
        return str(httpx.URL(self.public_url + photo_url).copy_merge_params({"size": size}))

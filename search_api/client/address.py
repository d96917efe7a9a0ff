"""The address of the API, shared by both clients."""

import httpx

ANSWER_SECONDS = 30.0


class ApiAddress:
    """Where the API is, and the key and timeout of requests to it."""

    def __init__(self, url: str, key: str, seconds: float, public_url: str) -> None:
        self.url = url.rstrip("/")
        self.public_url = public_url.rstrip("/") or self.url
        # httpx takes a text for ASCII. Other characters in a key are for the API to refuse.
        self._headers = httpx.Headers({"Authorization": f"Bearer {key}"} if key else {}, encoding="utf-8")
        self._timeout = httpx.Timeout(seconds, connect=min(5.0, seconds))

    def photo_address(self, photo_url: str, size: int) -> str:
        """Return the address from which a browser loads a photo, `size` pixels on its longer side."""
        return str(httpx.URL(self.public_url + photo_url).copy_merge_params({"size": size}))

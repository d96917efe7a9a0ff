"""Photo URLs that a browser can load: an <img> tag sends no key, so the URL carries a signature."""

import hashlib
import time
from functools import lru_cache
from urllib.parse import quote

from itsdangerous import BadSignature, TimestampSigner

from search_api.auth.api_keys import KeyRing

# URLs signed within the same hour are equal, so that browsers find the photo in their cache.
_PERIOD_SECONDS = 3600


class _HourSigner(TimestampSigner):
    def get_timestamp(self) -> int:
        """Return the Unix time of the start of the hour."""
        return int(time.time()) // _PERIOD_SECONDS * _PERIOD_SECONDS


class PhotoUrls:
    """Signs and verifies photo URLs. They expire after `seconds`, rounded to the hour."""

    def __init__(self, ring: KeyRing, seconds: int) -> None:
        self._ring = ring
        self._seconds = seconds

    def url(self, photo_id: str) -> str:
        """Return the path on this API, signed if the service requires keys."""
        path = f"/v1/photos/{quote(photo_id, safe='')}/image"
        if not self._ring.required:
            return path
        signed = _signer(self._ring.secret).sign(photo_id.encode()).decode()
        return f"{path}?signature={signed[len(photo_id) + 1 :]}"

    def period(self) -> tuple[str, int]:
        """Return a value that changes whenever `url` starts to return different URLs."""
        if not self._ring.required:
            return "", 0
        return self._ring.secret, int(time.time()) // _PERIOD_SECONDS

    def is_valid(self, photo_id: str, signature: str) -> bool:
        """Whether this signature belongs to this photo and has not expired."""
        try:
            signed = f"{photo_id}.{signature}".encode(errors="surrogatepass")
            value = _signer(self._ring.secret).unsign(signed, self._seconds)
        except BadSignature:
            return False
        # The signature may contain part of an id: then it belongs to a photo with another id.
        return value == photo_id.encode(errors="surrogatepass")


@lru_cache(2)
def _signer(secret: str) -> TimestampSigner:
    return _HourSigner(secret, salt="marketlens.photo", digest_method=hashlib.sha256)

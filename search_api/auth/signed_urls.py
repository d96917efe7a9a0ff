"""Addresses of photos that a browser can load: an <img> tag sends no key, so the address carries a signature."""

import hashlib
import time
from functools import lru_cache
from urllib.parse import quote

from itsdangerous import BadSignature, TimestampSigner

from search_api.auth.api_keys import KeyRing

# Addresses made within an hour are alike, so that browsers find the photo in their cache.
_SAME_SECONDS = 3600


class _HourSigner(TimestampSigner):
    def get_timestamp(self) -> int:
        """Seconds, as of the hour's beginning."""
        return int(time.time()) // _SAME_SECONDS * _SAME_SECONDS


class PhotoUrls:
    """Makes and checks them. `seconds`: how long they hold, to the hour."""

    def __init__(self, ring: KeyRing, seconds: int) -> None:
        self._ring = ring
        self._seconds = seconds

    def url(self, photo_id: str) -> str:
        """Path on this API, signed when keys are needed."""
        path = f"/v1/photos/{quote(photo_id, safe='')}/image"
        if not self._ring.required:
            return path
        signed = _signer(self._ring.secret).sign(photo_id.encode()).decode()
        return f"{path}?signature={signed[len(photo_id) + 1 :]}"

    def period(self) -> tuple[str, int]:
        """What stays the same for as long as `url` gives the same addresses."""
        if not self._ring.required:
            return "", 0
        return self._ring.secret, int(time.time()) // _SAME_SECONDS

    def holds(self, photo_id: str, signature: str) -> bool:
        """Whether this signature was made for this photo, and not too long ago."""
        try:
            signed = f"{photo_id}.{signature}".encode(errors="surrogatepass")
            value = _signer(self._ring.secret).unsign(signed, self._seconds)
        except BadSignature:
            return False
        # Part of the id may have come in the signature: it was made for a photo of another id then.
        return value == photo_id.encode(errors="surrogatepass")


@lru_cache(2)
def _signer(secret: str) -> TimestampSigner:
    return _HourSigner(secret, salt="marketlens.photo", digest_method=hashlib.sha256)

"""The claim of a running ingest, as others see it: it lives while its counter moves, so no clocks are compared."""

CLAIM = "claim"
"""The collection's note that holds it."""
BEAT_SECONDS = 3.0
_STILL_SECONDS = 2 * BEAT_SECONDS


class ClaimWatch:
    """Remembers since when a claim has looked the same. After a kill it stays behind, and is dead six seconds later."""

    def __init__(self) -> None:
        self._text = ""
        self._since = 0.0

    def is_alive(self, text: str, now: float) -> bool:
        """Whether the claim `text`, '' for none, read at `now` (monotonic seconds), is somebody's."""
        if text != self._text:
            self._text, self._since = text, now
        return bool(text) and now - self._since < _STILL_SECONDS

"""Tell whether the claim of an ingest is alive: its counter has to advance, so no clocks are compared."""

CLAIM = "claim"
"""The collection's note that holds the claim."""
BEAT_SECONDS = 3.0
_STILL_SECONDS = 2 * BEAT_SECONDS


class ClaimWatch:
    """Remembers since when a claim has not changed. A killed run leaves its claim, which is dead after 6 seconds."""

    def __init__(self) -> None:
        self._text = ""
        self._since = 0.0

    def is_alive(self, text: str, now: float) -> bool:
        """Whether the claim `text` ('' for none), read at `now` (monotonic seconds), belongs to a running ingest."""
        if text != self._text:
            self._text, self._since = text, now
        return bool(text) and now - self._since < _STILL_SECONDS

"""Waiting for a store that is away."""

import threading
from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_delay,
    stop_when_event_set,
    wait_exponential,
)

from catalog.errors import StoreUnreachable

T = TypeVar("T")


class Patience:
    """Waits for a store that is away, for `seconds` at most; `stop` ends the waiting at once."""

    def __init__(self, seconds: float, say: Callable[[str], None]) -> None:
        self.seconds = seconds
        self.say = say
        self.stop = threading.Event()

    def __call__(self, call: Callable[[], T]) -> T:
        """Call until the store answers. Raises StoreUnreachable when it does not in time."""
        retrying = Retrying(
            retry=retry_if_exception_type(StoreUnreachable),
            wait=wait_exponential(max=10),
            stop=stop_after_delay(self.seconds) | stop_when_event_set(self.stop),
            sleep=sleep_using_event(self.stop),
            before_sleep=self._tell,
            reraise=True,
        )
        return retrying(call)

    def _tell(self, state: RetryCallState) -> None:
        if state.attempt_number == 1:
            self.say(f"Milvus does not answer. Waiting for it, up to {self.seconds:.0f} seconds.")

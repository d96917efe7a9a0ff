"""Waiting for a store that is away."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
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
Handler = Callable[[int, FrameType | None], object]


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

    @contextmanager
    def ended_by_signals(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end the waiting of every thread; raises what they raise, not that the store was away.

        Where somebody handles them, and in the main thread: elsewhere signals are not heard of.
        """
        here = threading.current_thread() is threading.main_thread()
        handled = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM) if here}
        before = {number: handler for number, handler in handled.items() if callable(handler)}
        for number, handler in before.items():
            signal.signal(number, self._stopping(handler))
        try:
            yield
        except StoreUnreachable as error:
            if self.stop.is_set():
                raise KeyboardInterrupt from error
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stopping(self, handler: Handler) -> Handler:
        def stop(number: int, frame: FrameType | None) -> None:
            # First: the main thread, where the handler raises, may have to wait for others that wait here.
            self.stop.set()
            handler(number, frame)

        return stop

    def _tell(self, state: RetryCallState) -> None:
        if state.attempt_number == 1:
            self.say(f"Milvus does not answer. Waiting for it, up to {self.seconds:.0f} seconds.")

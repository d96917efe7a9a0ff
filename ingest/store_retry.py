"""Retries while the store does not answer."""

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


class StoreRetry:
    """Retries calls while the store does not answer, for `seconds` at most; setting `stop` ends the wait at once."""

    def __init__(self, seconds: float, say: Callable[[str], None]) -> None:
        self.seconds = seconds
        self.say = say
        self.stop = threading.Event()

    def __call__(self, call: Callable[[], T]) -> T:
        """Call until the store answers. Raises StoreUnreachable if it does not answer in time."""
        retrying = Retrying(
            retry=retry_if_exception_type(StoreUnreachable),
            wait=wait_exponential(max=10),
            stop=stop_after_delay(self.seconds) | stop_when_event_set(self.stop),
            sleep=sleep_using_event(self.stop),
            before_sleep=self._report_wait,
            reraise=True,
        )
        return retrying(call)

    @contextmanager
    def ended_by_signals(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end the wait of every thread, and raise KeyboardInterrupt instead of StoreUnreachable.

        Only in the main thread, which alone receives signals, and only for signals that have a handler.
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
            # Before the handler raises in the main thread: that thread may have to wait for others that wait here.
            self.stop.set()
            handler(number, frame)

        return stop

    def _report_wait(self, state: RetryCallState) -> None:
        if state.attempt_number == 1:
            self.say(f"Milvus does not answer. Retrying for up to {self.seconds:.0f} seconds.")

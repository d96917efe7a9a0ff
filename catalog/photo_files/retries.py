"""What a failure to read means, and second tries where it may pass."""

import errno
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

import aiohttp
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from catalog.errors import HostFailed, PhotoUnusable
from catalog.photo_files.addresses import host_of

ATTEMPTS = 3
LONGEST_PAUSE = 30.0
_GONE = (404, 410)
_BUSY = 429
# What an object store says of the request rather than of itself.
_LASTING = (PermissionError, ValueError, ImportError, aiohttp.ClientError)
_LASTING_ERRNOS = (errno.EINVAL, errno.ENAMETOOLONG, errno.EPERM)

R = TypeVar("R")


def retried(uri: str, work: Callable[[], R]) -> R:
    """Do this, up to three times where the host's trouble may pass. Raises PhotoUnusable, of which HostFailed."""
    return RETRYING(lambda: tried(uri, work))


def tried(uri: str, work: Callable[[], R]) -> R:
    """Do this once. Raises as `retried` does."""
    try:
        return work()
    except PhotoUnusable:
        raise
    except Exception as error:
        # Each object store's package has errors of its own; from this machine, others are mistakes of ours.
        if host_of(uri) or isinstance(error, (OSError, ValueError)):
            raise trouble(uri, error) from error
        raise


def trouble(uri: str, error: BaseException) -> PhotoUnusable:
    """What an error means: nothing there, something unreadable, or a host in trouble."""
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, (aiohttp.ClientError, TimeoutError)):
        error = error.__cause__  # fsspec says so of every trouble over http
    told = f"{uri} could not be read: {str(error) or type(error).__name__}"
    if isinstance(error, FileNotFoundError) or getattr(error, "status", None) in _GONE:
        return PhotoUnusable("missing", f"There is nothing at {uri}.")
    if isinstance(error, aiohttp.ClientResponseError):
        if error.status != _BUSY and error.status < 500:
            return PhotoUnusable("unreadable", told)
        return HostFailed(told, retry_after=_retry_after(error.headers.get("Retry-After", "") if error.headers else ""))
    if host_of(uri) and isinstance(error, TimeoutError):
        return HostFailed(f"{uri} could not be read: {host_of(uri)} did not answer in time")
    passing = isinstance(error, (ConnectionError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError))
    lasting = isinstance(error, _LASTING) or getattr(error, "errno", None) in _LASTING_ERRNOS
    return HostFailed(told) if host_of(uri) and (passing or not lasting) else PhotoUnusable("unreadable", told)


def _retry_after(text: str) -> float | None:
    """Seconds or a date -> seconds; None where neither is told."""
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


_backoff = wait_exponential(multiplier=0.5, max=8) + wait_random(0, 0.5)


def _pause(state: RetryCallState) -> float:
    error = state.outcome and state.outcome.exception()
    told = error.retry_after if isinstance(error, HostFailed) else None
    return _backoff(state) if told is None else min(told, LONGEST_PAUSE)


RETRYING = Retrying(
    stop=stop_after_attempt(ATTEMPTS), wait=_pause, retry=retry_if_exception_type(HostFailed), reraise=True
)

"""Classify failures to read, and retry those that may pass."""

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
# Errors of an object store that are about the request, not about the store: a retry does not help.
_PERMANENT = (PermissionError, ValueError, ImportError, aiohttp.ClientError)
_PERMANENT_ERRNOS = (errno.EINVAL, errno.ENAMETOOLONG, errno.EPERM)

R = TypeVar("R")


def with_retries(uri: str, work: Callable[[], R], attempts: int = ATTEMPTS) -> R:
    """Run `work`, again if the host fails. Raises PhotoUnusable; HostFailed after the last attempt."""

    def attempt() -> R:
        try:
            return work()
        except PhotoUnusable:
            raise
        except Exception as error:
            # Each object store's package has its own errors. For local files, other errors are bugs of marketlens.
            if host_of(uri) or isinstance(error, (OSError, ValueError)):
                raise classify_failure(uri, error) from error
            raise

    return RETRYING.copy(stop=stop_after_attempt(attempts))(attempt)


def classify_failure(uri: str, error: BaseException) -> PhotoUnusable:
    """Return the domain error for a failure to read: file missing, unreadable, or HostFailed."""
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, (aiohttp.ClientError, TimeoutError)):
        error = error.__cause__  # fsspec raises FileNotFoundError for every failure over http
    message = f"{uri} could not be read: {str(error) or type(error).__name__}"
    if isinstance(error, FileNotFoundError) or getattr(error, "status", None) in _GONE:
        return PhotoUnusable("missing", f"There is nothing at {uri}.")
    if isinstance(error, aiohttp.ClientResponseError):
        if error.status != _BUSY and error.status < 500:
            return PhotoUnusable("unreadable", message)
        header = error.headers.get("Retry-After", "") if error.headers else ""
        return HostFailed(message, retry_after=_retry_after(header))
    if host_of(uri) and isinstance(error, TimeoutError):
        return HostFailed(f"{uri} could not be read: {host_of(uri)} did not answer in time")
    temporary = isinstance(error, (ConnectionError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError))
    permanent = isinstance(error, _PERMANENT) or getattr(error, "errno", None) in _PERMANENT_ERRNOS
    if host_of(uri) and (temporary or not permanent):
        return HostFailed(message)
    return PhotoUnusable("unreadable", message)


def _retry_after(text: str) -> float | None:
    """Parse a Retry-After header, in seconds or as a date, into seconds; None if it is neither."""
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


_backoff = wait_exponential(multiplier=0.5, max=8) + wait_random(0, 0.5)


def _pause(state: RetryCallState) -> float:
    error = state.outcome and state.outcome.exception()
    retry_after = error.retry_after if isinstance(error, HostFailed) else None
    return _backoff(state) if retry_after is None else min(retry_after, LONGEST_PAUSE)


RETRYING = Retrying(wait=_pause, retry=retry_if_exception_type(HostFailed), reraise=True)

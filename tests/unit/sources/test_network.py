import errno
import socket
import time
from email.utils import formatdate

import aiohttp
import pytest

from catalog.errors import HostFailed, PhotoUnusable
from catalog.photo_files.files import read_photo, source_tag
from catalog.photo_files.retries import ATTEMPTS, LONGEST_PAUSE, classify_failure
from tests.support.servers.web import Answer, Site

BODY = b"a photo" * 1_000


def failure(site: Site, uri: str, seconds: float = 20.0) -> tuple[PhotoUnusable, int]:
    """Read a photo that fails; the error, and the number of requests to the site."""
    with pytest.raises(PhotoUnusable) as error:
        read_photo(uri, 1_000_000, seconds)
    return error.value, len(site.requests)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_second_try(site: Site, pauses: list[float], status: int) -> None:
    """Failures that may pass are retried, with growing pauses and jitter, and the photo is read."""
    uri = site.page("/a.jpg", Answer(status), Answer(status), BODY)
    assert read_photo(uri, 1_000_000) == BODY
    assert len(site.requests) == 3
    assert 0.5 <= pauses[0] <= 1.0 <= pauses[1] <= 1.5
    assert pauses[0] != 0.5, "without jitter all readers come back at once"


@pytest.mark.parametrize("status", [429, 500])
def test_tries_end(site: Site, pauses: list[float], status: int) -> None:
    """A host that keeps failing gets three attempts, and the error is HostFailed."""
    error, times = failure(site, site.page("/a.jpg", Answer(status)))
    assert (times, len(pauses)) == (ATTEMPTS, ATTEMPTS - 1)
    assert isinstance(error, HostFailed)


def test_no_retries_unless_patient(site: Site, pauses: list[float]) -> None:
    """Without `patient` there is one attempt, and the same error."""
    with pytest.raises(HostFailed):
        read_photo(site.page("/a.jpg", Answer(503), BODY), 1_000_000, patient=False)
    assert (len(site.requests), pauses) == (1, [])


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "missing"), (410, "missing"), (403, "unreadable"), (401, "unreadable")]
)
def test_no_second_try(site: Site, pauses: list[float], status: int, reason: str) -> None:
    """A permanent status is not retried, and does not count as a failure of the host."""
    error, times = failure(site, site.page("/a.jpg", Answer(status)))
    assert (times, pauses, error.reason) == (1, [], reason)
    assert not isinstance(error, HostFailed)


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [
        ("7", 7, 7),
        ("3600", LONGEST_PAUSE, LONGEST_PAUSE),
        (formatdate(time.time() + 86_400, usegmt=True), LONGEST_PAUSE, LONGEST_PAUSE),
        ("soon", 0.5, 1.0),
    ],
    ids=["seconds", "an hour", "date", "nonsense"],
)
def test_retry_after(site: Site, pauses: list[float], retry_after: str, least: float, most: float) -> None:
    """A host's Retry-After is followed, up to the longest pause."""
    uri = site.page("/a.jpg", Answer(429, {"Retry-After": retry_after}), BODY)
    assert read_photo(uri, 1_000_000) == BODY
    assert least <= pauses[0] <= most


def test_cut_short(site: Site, pauses: list[float]) -> None:
    """A body shorter than its Content-Length is not used but fetched again."""
    cut = Answer(headers={"Content-Length": "7000"}, body=lambda handler: handler.wfile.write(BODY[:100]) and None)
    assert read_photo(site.page("/a.jpg", cut, BODY), 1_000_000) == BODY
    assert len(pauses) == 1


@pytest.mark.parametrize("kind", ["silence", "drip"])
def test_never_ends(site: Site, pauses: list[float], kind: str) -> None:
    """A host that falls silent or drips bytes cannot hold a reader longer than the timeout of an attempt."""
    error, times = failure(site, site.page("/a.jpg", Answer(body=getattr(site, kind))), seconds=0.3)
    assert isinstance(error, HostFailed)
    assert site.address in error.message
    assert times - 1 == len(pauses) == ATTEMPTS - 1


def test_never_answers(pauses: list[float]) -> None:
    """A host that accepts the connection but sends nothing runs into the same timeout."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        uri = f"http://127.0.0.1:{mute.getsockname()[1]}/a.jpg"
        assert source_tag(uri, 0.2) == ""
        with pytest.raises(HostFailed, match="did not answer in time"):
            read_photo(uri, 1_000_000, 0.2)
    assert len(pauses) == ATTEMPTS - 1


def test_endless_body(site: Site, pauses: list[float]) -> None:
    """An endless body is read up to the size limit, once."""
    error, times = failure(site, site.page("/a.jpg", Answer(body=site.flood)))
    assert (error.reason, times, pauses) == ("too_large", 1, [])


def test_redirect_to_this_machine(site: Site, pauses: list[float]) -> None:
    """A redirect cannot make the reader open files of this machine."""
    error, _ = failure(site, site.page("/a.jpg", Answer(302, {"Location": "file:///etc/hostname"})))
    assert (error.reason, pauses) == ("unreadable", [])


@pytest.mark.parametrize(
    ("headers", "tag"),
    [
        ({"ETag": '"abc"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, '"abc"'),
        ({"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, "Mon, 01 Jan 2024 00:00:00 GMT 7000"),
        ({"ETag": 'W/"abc"'}, ""),
        ({"ETag": '"' + "x" * 600 + '"'}, ""),
        ({"Last-Modified": "yesterday"}, ""),
        ({}, ""),
    ],
    ids=["etag", "time", "weak", "long", "nonsense", "none"],
)
def test_tag(site: Site, headers: dict[str, str], tag: str) -> None:
    """The tag is a strong ETag, or time and length, fetched by HEAD; otherwise it is empty."""
    assert source_tag(site.page("/a.jpg", Answer(headers=headers, body=BODY))) == tag
    assert site.requests == ["HEAD /a.jpg"]


def test_tag_of_what_just_changed(site: Site) -> None:
    """A Last-Modified of this second gives no tag: the photo may change again within the second."""
    assert source_tag(site.page("/a.jpg", Answer(headers={"Last-Modified": formatdate(usegmt=True)}, body=BODY))) == ""


def test_no_tag(site: Site, pauses: list[float]) -> None:
    """If the host refuses, redirects in a circle or is unreachable, there is no tag, no error and no retry."""
    circle = site.page("/b.jpg", Answer(302, {"Location": "/b.jpg"}))
    for uri in (site.page("/a.jpg", Answer(405)), circle, "http://127.0.0.1:1/a.jpg", "http://[oops/a.jpg"):
        assert source_tag(uri) == ""
    assert pauses == []


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (FileNotFoundError("NoSuchKey"), PhotoUnusable, "missing"),
        (PermissionError("AccessDenied"), PhotoUnusable, "unreadable"),
        (OSError(errno.EINVAL, "InvalidBucketName"), PhotoUnusable, "unreadable"),
        (ImportError("Install gcsfs"), PhotoUnusable, "unreadable"),
        (OSError(errno.EBUSY, "SlowDown"), HostFailed, "unreadable"),
        (RuntimeError("a store's own error"), HostFailed, "unreadable"),
        (ConnectionResetError(), HostFailed, "unreadable"),
        (aiohttp.ServerDisconnectedError(), HostFailed, "unreadable"),
    ],
)
def test_failures_of_an_object_store(error: Exception, kind: type[PhotoUnusable], reason: str) -> None:
    """An object store's refusals are permanent, its other failures may pass; every message has its cause."""
    result = classify_failure("s3://bucket/a.jpg", error)
    assert (type(result), result.reason) == (kind, reason)
    assert not result.message.endswith(": ")


def test_failure_of_a_disk() -> None:
    """Failures of this machine are not a host's, and are not retried."""
    assert type(classify_failure("/a.jpg", OSError(errno.EIO, "Input/output error"))) is PhotoUnusable

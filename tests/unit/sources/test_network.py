import errno
import socket
import time
from email.utils import formatdate

import aiohttp
import pytest

from catalog.errors import HostFailed, PhotoUnusable
from catalog.photo_files.files import read_photo, source_tag
from catalog.photo_files.retries import ATTEMPTS, LONGEST_PAUSE, classify_failure
from tests.support.web import Answer, Site

BODY = b"a photo" * 1_000


def asked(site: Site, uri: str, seconds: float = 20.0) -> tuple[PhotoUnusable, int]:
    """Why the photo is unusable, and how many times the site was asked."""
    with pytest.raises(PhotoUnusable) as error:
        read_photo(uri, 1_000_000, seconds)
    return error.value, len(site.asked)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_second_try(site: Site, pauses: list[float], status: int) -> None:
    """Trouble that may pass is tried again, with growing pauses that no two readers share, and the photo is read."""
    uri = site.page("/a.jpg", Answer(status), Answer(status), BODY)
    assert read_photo(uri, 1_000_000) == BODY
    assert len(site.asked) == 3
    assert 0.5 <= pauses[0] <= 1.0 <= pauses[1] <= 1.5
    assert pauses[0] != 0.5, "without jitter all readers come back at once"


@pytest.mark.parametrize("status", [429, 500])
def test_tries_end(site: Site, pauses: list[float], status: int) -> None:
    """A host that stays in trouble is asked three times, and the failure is the host's."""
    error, times = asked(site, site.page("/a.jpg", Answer(status)))
    assert (times, len(pauses)) == (ATTEMPTS, ATTEMPTS - 1)
    assert isinstance(error, HostFailed)


def test_no_second_try_while_somebody_waits(site: Site, pauses: list[float]) -> None:
    """Who is not patient has one attempt, and learns the same."""
    with pytest.raises(HostFailed):
        read_photo(site.page("/a.jpg", Answer(503), BODY), 1_000_000, patient=False)
    assert (len(site.asked), pauses) == (1, [])


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "missing"), (410, "missing"), (403, "unreadable"), (401, "unreadable")]
)
def test_no_second_try(site: Site, pauses: list[float], status: int, reason: str) -> None:
    """What a host says for good is believed at once, and is no failure of the host."""
    error, times = asked(site, site.page("/a.jpg", Answer(status)))
    assert (times, pauses, error.reason) == (1, [], reason)
    assert not isinstance(error, HostFailed)


@pytest.mark.parametrize(
    ("told", "least", "most"),
    [
        ("7", 7, 7),
        ("3600", LONGEST_PAUSE, LONGEST_PAUSE),
        (formatdate(time.time() + 86_400, usegmt=True), LONGEST_PAUSE, LONGEST_PAUSE),
        ("soon", 0.5, 1.0),
    ],
    ids=["seconds", "an hour", "date", "nonsense"],
)
def test_retry_after(site: Site, pauses: list[float], told: str, least: float, most: float) -> None:
    """A host that says when to come back is heeded, within reason."""
    uri = site.page("/a.jpg", Answer(429, {"Retry-After": told}), BODY)
    assert read_photo(uri, 1_000_000) == BODY
    assert least <= pauses[0] <= most


def test_cut_short(site: Site, pauses: list[float]) -> None:
    """A body that ends before its length is not taken for the photo, but fetched again."""
    cut = Answer(headers={"Content-Length": "7000"}, body=lambda handler: handler.wfile.write(BODY[:100]) and None)
    assert read_photo(site.page("/a.jpg", cut, BODY), 1_000_000) == BODY
    assert len(pauses) == 1


@pytest.mark.parametrize("kind", ["silence", "drip"])
def test_never_ends(site: Site, pauses: list[float], kind: str) -> None:
    """Neither a host that begins and falls silent nor one that drips holds a reader beyond the time of an attempt."""
    error, times = asked(site, site.page("/a.jpg", Answer(body=getattr(site, kind))), seconds=0.3)
    assert isinstance(error, HostFailed)
    assert site.address in error.message
    assert times - 1 == len(pauses) == ATTEMPTS - 1


def test_never_answers(pauses: list[float]) -> None:
    """A host that accepts and says nothing at all holds nobody either."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        uri = f"http://127.0.0.1:{mute.getsockname()[1]}/a.jpg"
        assert source_tag(uri, 0.2) == ""
        with pytest.raises(HostFailed, match="did not answer in time"):
            read_photo(uri, 1_000_000, 0.2)
    assert len(pauses) == ATTEMPTS - 1


def test_endless_body(site: Site, pauses: list[float]) -> None:
    """An endless body is read to the limit of bytes, once."""
    error, times = asked(site, site.page("/a.jpg", Answer(body=site.flood)))
    assert (error.reason, times, pauses) == ("too_large", 1, [])


def test_redirect_to_this_machine(site: Site, pauses: list[float]) -> None:
    """A host cannot make the reader open files of this machine."""
    error, _ = asked(site, site.page("/a.jpg", Answer(302, {"Location": "file:///etc/hostname"})))
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
    """A host's promise about the bytes is their tag, got without the bytes; without a promise there is none."""
    assert source_tag(site.page("/a.jpg", Answer(headers=headers, body=BODY))) == tag
    assert site.asked == ["HEAD /a.jpg"]


def test_tag_of_what_just_changed(site: Site) -> None:
    """A time of change in this very second is no tag: the photo may change again within it."""
    assert source_tag(site.page("/a.jpg", Answer(headers={"Last-Modified": formatdate(usegmt=True)}, body=BODY))) == ""


def test_no_tag(site: Site, pauses: list[float]) -> None:
    """Where the host refuses, goes in circles or is not there at all, there is no tag, no error and no second try."""
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
def test_trouble_of_a_store(error: Exception, kind: type[PhotoUnusable], reason: str) -> None:
    """An object store's refusals are for good, its other troubles may pass; what it was is said of each."""
    found = classify_failure("s3://bucket/a.jpg", error)
    assert (type(found), found.reason) == (kind, reason)
    assert not found.message.endswith(": ")


def test_trouble_of_a_disk() -> None:
    """Troubles of this machine are no host's, and are not tried again."""
    assert type(classify_failure("/a.jpg", OSError(errno.EIO, "Input/output error"))) is PhotoUnusable

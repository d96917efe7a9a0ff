import pytest

from catalog.errors import HostFailed, PhotoUnusable
from catalog.photo_files.hosts import FAILURES_IN_A_ROW, HostGate, make_reader
from catalog.photo_files.retries import ATTEMPTS
from tests.support.servers.web import Answer, Site

SLOW, OTHER = "https://slow.example/a.jpg", "https://other.example/a.jpg"


def read_with(gate: HostGate, uri: str, error: PhotoUnusable | None) -> str:
    """Read a photo through the gate with this outcome; the reason, `read` if the read succeeded."""
    with pytest.raises(PhotoUnusable) as raised, gate.guard(uri):
        raise error or PhotoUnusable("read", "")
    return raised.value.reason


def host_failure() -> HostFailed:
    return HostFailed("no answer")


def test_given_up() -> None:
    """After five failures in a row a host gets no more requests in this run; the message says so and names it."""
    gate = HostGate()
    for _ in range(FAILURES_IN_A_ROW):
        assert read_with(gate, SLOW, host_failure()) == "unreadable"
    with pytest.raises(PhotoUnusable) as error, gate.guard(SLOW):
        pytest.fail("the host was asked")
    assert error.value.reason == "host_unresponsive"
    assert "https://slow.example" in error.value.message
    assert "next run" in error.value.message


def test_other_hosts_are_still_read() -> None:
    """A host's failures do not affect other hosts, and this machine is never given up."""
    gate = HostGate()
    for _ in range(FAILURES_IN_A_ROW):
        read_with(gate, SLOW, host_failure())
        read_with(gate, "/exports/a.jpg", host_failure())
    assert read_with(gate, OTHER, None) == "read"
    assert read_with(gate, "/exports/a.jpg", None) == "read"


@pytest.mark.parametrize("answer", [None, PhotoUnusable("missing", ""), PhotoUnusable("too_large", "")])
def test_in_a_row(answer: PhotoUnusable | None) -> None:
    """A photo that was read and a photo that is missing show that the host is alive: counting starts again."""
    gate = HostGate()
    for _ in range(3):
        for _ in range(FAILURES_IN_A_ROW - 1):
            read_with(gate, SLOW, host_failure())
        if answer:
            read_with(gate, SLOW, answer)
        else:
            with gate.guard(SLOW):
                pass
    assert read_with(gate, SLOW, None) == "read"


def test_for_the_run() -> None:
    """A request that succeeds after its host was given up does not bring the host back; a new run does."""
    gate = HostGate()
    with gate.guard(SLOW):
        for _ in range(FAILURES_IN_A_ROW):
            read_with(gate, SLOW, host_failure())
    assert read_with(gate, SLOW, None) == "host_unresponsive"
    assert read_with(HostGate(), SLOW, None) == "read"


@pytest.mark.usefixtures("pauses")
def test_reader(site: Site) -> None:
    """A run's reader requests five photos from a silent host and then gives it up; the next run's tries again."""
    uris = [site.page(f"/{number}.jpg", Answer(body=site.silence)) for number in range(8)]
    read = make_reader(1_000, 0.2)
    reasons = []
    for uri in uris:
        with pytest.raises(PhotoUnusable) as error:
            read(uri)
        reasons.append(error.value.reason)
    assert reasons == ["unreadable"] * FAILURES_IN_A_ROW + ["host_unresponsive"] * 3
    assert len(site.requests) == FAILURES_IN_A_ROW * ATTEMPTS
    site.page("/0.jpg", b"a photo")
    assert make_reader(1_000, 0.2)(uris[0]) == b"a photo"

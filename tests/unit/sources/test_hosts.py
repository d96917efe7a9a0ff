import pytest

from catalog.errors import HostFailed, PhotoUnusable
from catalog.photo_files.hosts import FAILURES_IN_A_ROW, HostGate, reader
from catalog.photo_files.retries import ATTEMPTS
from tests.support.web import Answer, Site

SLOW, OTHER = "https://slow.example/a.jpg", "https://other.example/a.jpg"


def ask(gate: HostGate, uri: str, error: PhotoUnusable | None) -> str:
    """Read a photo with this outcome; the reason why it is unusable."""
    with pytest.raises(PhotoUnusable) as raised, gate.asking(uri):
        raise error or PhotoUnusable("read", "")
    return raised.value.reason


def failed() -> HostFailed:
    return HostFailed("no answer")


def test_given_up() -> None:
    """After five photos in a row a host is not asked again in this run, and the message names it and says so."""
    gate = HostGate()
    for _ in range(FAILURES_IN_A_ROW):
        assert ask(gate, SLOW, failed()) == "unreadable"
    with pytest.raises(PhotoUnusable) as error, gate.asking(SLOW):
        pytest.fail("the host was asked")
    assert error.value.reason == "host_unresponsive"
    assert "https://slow.example" in error.value.message
    assert "next run" in error.value.message


def test_others_are_asked() -> None:
    """One host's failures are no other's, and this machine is never given up."""
    gate = HostGate()
    for _ in range(FAILURES_IN_A_ROW):
        ask(gate, SLOW, failed())
        ask(gate, "/exports/a.jpg", failed())
    assert ask(gate, OTHER, None) == "read"
    assert ask(gate, "/exports/a.jpg", None) == "read"


@pytest.mark.parametrize("answer", [None, PhotoUnusable("missing", ""), PhotoUnusable("too_large", "")])
def test_in_a_row(answer: PhotoUnusable | None) -> None:
    """A photo that was read, and a photo that is not there, are answers: the host is alive and counting starts anew."""
    gate = HostGate()
    for _ in range(3):
        for _ in range(FAILURES_IN_A_ROW - 1):
            ask(gate, SLOW, failed())
        if answer:
            ask(gate, SLOW, answer)
        else:
            with gate.asking(SLOW):
                pass
    assert ask(gate, SLOW, None) == "read"


def test_for_the_run() -> None:
    """A request that was under way when its host was given up does not bring it back; a new run does."""
    gate = HostGate()
    with gate.asking(SLOW):
        for _ in range(FAILURES_IN_A_ROW):
            ask(gate, SLOW, failed())
    assert ask(gate, SLOW, None) == "host_unresponsive"
    assert ask(HostGate(), SLOW, None) == "read"


@pytest.mark.usefixtures("pauses")
def test_reader(site: Site) -> None:
    """A run's reader asks a silent host for five photos, within its own time, and for no more; the next run's does."""
    uris = [site.page(f"/{number}.jpg", Answer(body=site.silence)) for number in range(8)]
    read = reader(1_000, 0.2)
    reasons = []
    for uri in uris:
        with pytest.raises(PhotoUnusable) as error:
            read(uri)
        reasons.append(error.value.reason)
    assert reasons == ["unreadable"] * FAILURES_IN_A_ROW + ["host_unresponsive"] * 3
    assert len(site.asked) == FAILURES_IN_A_ROW * ATTEMPTS
    site.page("/0.jpg", b"a photo")
    assert reader(1_000, 0.2)(uris[0]) == b"a photo"

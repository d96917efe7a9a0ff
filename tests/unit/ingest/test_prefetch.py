import threading
from collections.abc import Iterator

import pytest

from ingest.stages.prefetch import PER_HOST, map_as_ready

Item = tuple[str, int]


def host_of(item: Item) -> str:
    return item[0]


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """However a run ends, its threads end with it."""
    before = set(threading.enumerate())
    yield
    assert not {thread for thread in threading.enumerate() if thread not in before and thread.name.startswith("read")}


class Hosts:
    """Work that notes who is at work; the host `slow` answers when it is told to."""

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.lock = threading.Lock()
        self.busy: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.begun: list[Item] = []

    def work(self, item: Item) -> Item:
        host = item[0]
        with self.lock:
            self.begun.append(item)
            self.busy[host] = self.busy.get(host, 0) + 1
            self.most[host] = max(self.most.get(host, 0), self.busy[host])
        if host == "slow":
            assert self.answer.wait(60)
        with self.lock:
            self.busy[host] -= 1
        return item


@pytest.mark.parametrize(("threads", "ahead"), [(1, 1), (1, 10), (2, 3), (16, 1), (16, 1000)])
def test_everything_once(threads: int, ahead: int) -> None:
    """Every item comes out once, whatever the numbers of threads and of hosts."""
    items = [(("", "a", "b")[number % 3], number) for number in range(200)]
    read = list(map_as_ready(items, lambda item: item, host_of, threads=threads, local=threads, ahead=ahead))
    assert sorted(read) == sorted(items)


def test_nothing() -> None:
    """No items are no results."""
    assert list(map_as_ready([], host_of, host_of, threads=2, local=2, ahead=2)) == []


@pytest.mark.parametrize("threads", [2, 4, 16])
def test_slow_host(threads: int) -> None:
    """While one host does not answer, all the others' items come out, though the slow one's were first in the queue."""
    hosts = Hosts()
    items = [("slow", number) for number in range(30)]
    items += [(f"host {number % 3}" if number % 4 else "", number) for number in range(60)]
    results = map_as_ready(items, hosts.work, host_of, threads=threads, local=threads, ahead=len(items))
    first = [next(results) for _ in range(60)]
    assert {host for host, _ in first} == {"", "host 0", "host 1", "host 2"}
    hosts.answer.set()
    assert sorted([*first, *results]) == sorted(items)
    assert hosts.most["slow"] == min(PER_HOST, threads - 1)


def test_this_machine_may_have_all() -> None:
    """Files of this machine use every thread."""
    together = threading.Barrier(12, timeout=60)
    assert (
        len(list(map_as_ready(range(12), lambda _: together.wait(), lambda _: "", threads=12, local=12, ahead=12)))
        == 12
    )


def test_goes_on_while_the_consumer_is_busy() -> None:
    """A host's queue moves on by itself: nobody has to ask for results between."""
    hosts = Hosts()
    hosts.answer.set()
    all_begun = threading.Event()

    def work(item: Item) -> Item:
        hosts.work(item)
        if len(hosts.begun) == 50:
            all_begun.set()
        return item

    results = map_as_ready([("a", number) for number in range(50)], work, host_of, threads=4, local=4, ahead=50)
    next(results)
    assert all_begun.wait(60), "49 results nobody asked for"
    results.close()


def test_ahead() -> None:
    """Never more than `ahead` items are taken and not given back: memory does not grow with the export."""
    taken: list[int] = []

    def items() -> Iterator[Item]:
        for number in range(100):
            taken.append(number)
            yield ("a", number)

    for given, _ in enumerate(map_as_ready(items(), lambda item: item, host_of, threads=4, local=4, ahead=7)):
        assert len(taken) - given <= 7
    assert len(taken) == 100


def test_error_of_the_work() -> None:
    """An error of the work arrives where the result would."""

    def work(item: Item) -> Item:
        if item[1] == 5:
            raise ZeroDivisionError
        return item

    with pytest.raises(ZeroDivisionError):
        list(map_as_ready([("a", number) for number in range(10)], work, host_of, threads=4, local=4, ahead=3))


def test_error_of_the_items() -> None:
    """An error of the input arrives at the consumer; it is not taken for the end."""

    def items() -> Iterator[Item]:
        yield ("a", 1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(map_as_ready(items(), lambda item: item, host_of, threads=4, local=4, ahead=1))


def test_closed_early() -> None:
    """A consumer that stops early waits for what is under way, and what has not begun never begins."""
    hosts = Hosts()
    results = map_as_ready(
        [("a", 0), *(("slow", number) for number in range(100))], hosts.work, host_of, threads=4, local=4, ahead=101
    )
    assert next(results) == ("a", 0)
    closing = threading.Thread(target=results.close)
    closing.start()
    closing.join(0.2)
    hosts.answer.set()
    closing.join(60)
    assert not closing.is_alive()
    assert len(hosts.begun) <= 1 + 3

import threading
from collections.abc import Iterator

import pytest

from ingest.stages.prefetch import PER_HOST, map_as_ready

Item = tuple[str, int]


def host_of(item: Item) -> str:
    return item[0]


@pytest.fixture(autouse=True)
def no_leftover_threads() -> Iterator[None]:
    """All reader threads end with the run, however it ends."""
    threads_before = set(threading.enumerate())
    yield
    started = set(threading.enumerate()) - threads_before
    assert not {thread for thread in started if thread.name.startswith("read")}


class FakeHosts:
    """Work that counts the items in progress per host; host `slow` answers only after `answer` is set."""

    def __init__(self) -> None:
        self.answer = threading.Event()
        self.lock = threading.Lock()
        self.busy: dict[str, int] = {}
        self.most_busy: dict[str, int] = {}
        self.started: list[Item] = []

    def work(self, item: Item) -> Item:
        host = item[0]
        with self.lock:
            self.started.append(item)
            self.busy[host] = self.busy.get(host, 0) + 1
            self.most_busy[host] = max(self.most_busy.get(host, 0), self.busy[host])
        if host == "slow":
            assert self.answer.wait(60)
        with self.lock:
            self.busy[host] -= 1
        return item


@pytest.mark.parametrize(("threads", "ahead"), [(1, 1), (1, 10), (2, 3), (16, 1), (16, 1000)])
def test_every_item_comes_out_once(threads: int, ahead: int) -> None:
    """Every item comes out once, for any number of threads and hosts."""
    items = [(("", "a", "b")[number % 3], number) for number in range(200)]
    read = list(map_as_ready(items, lambda item: item, host_of, threads=threads, local=threads, ahead=ahead))
    assert sorted(read) == sorted(items)


def test_no_items() -> None:
    """An empty input gives no results."""
    assert list(map_as_ready([], host_of, host_of, threads=2, local=2, ahead=2)) == []


@pytest.mark.parametrize("threads", [2, 4, 16])
def test_slow_host(threads: int) -> None:
    """While one host does not answer, the items of all others come out, even if the slow host's came first."""
    hosts = FakeHosts()
    items = [("slow", number) for number in range(30)]
    items += [(f"host {number % 3}" if number % 4 else "", number) for number in range(60)]
    results = map_as_ready(items, hosts.work, host_of, threads=threads, local=threads, ahead=len(items))
    first = [next(results) for _ in range(60)]
    assert {host for host, _ in first} == {"", "host 0", "host 1", "host 2"}
    hosts.answer.set()
    assert sorted([*first, *results]) == sorted(items)
    assert hosts.most_busy["slow"] == min(PER_HOST, threads - 1)


def test_local_files_use_all_threads() -> None:
    """Files on this machine may use every thread."""
    barrier = threading.Barrier(12, timeout=60)
    assert (
        len(list(map_as_ready(range(12), lambda _: barrier.wait(), lambda _: "", threads=12, local=12, ahead=12))) == 12
    )


def test_work_continues_while_the_consumer_is_busy() -> None:
    """A host's queue advances even if the consumer does not request results."""
    hosts = FakeHosts()
    hosts.answer.set()
    all_started = threading.Event()

    def work(item: Item) -> Item:
        hosts.work(item)
        if len(hosts.started) == 50:
            all_started.set()
        return item

    results = map_as_ready([("a", number) for number in range(50)], work, host_of, threads=4, local=4, ahead=50)
    next(results)
    assert all_started.wait(60), "work stopped because the consumer requested no results"
    results.close()


def test_at_most_ahead_items_are_in_progress() -> None:
    """At most `ahead` items are taken and not yet returned, so memory does not grow with the export."""
    taken: list[int] = []

    def items() -> Iterator[Item]:
        for number in range(100):
            taken.append(number)
            yield ("a", number)

    for returned, _ in enumerate(map_as_ready(items(), lambda item: item, host_of, threads=4, local=4, ahead=7)):
        assert len(taken) - returned <= 7
    assert len(taken) == 100


def test_error_of_work() -> None:
    """An error that `work` raises reaches the consumer in place of the result."""

    def work(item: Item) -> Item:
        if item[1] == 5:
            raise ZeroDivisionError
        return item

    with pytest.raises(ZeroDivisionError):
        list(map_as_ready([("a", number) for number in range(10)], work, host_of, threads=4, local=4, ahead=3))


def test_error_of_items() -> None:
    """An error that `items` raises reaches the consumer and is not mistaken for the end of the input."""

    def items() -> Iterator[Item]:
        yield ("a", 1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(map_as_ready(items(), lambda item: item, host_of, threads=4, local=4, ahead=1))


def test_closed_early() -> None:
    """Closing the generator waits for the work in progress; work that has not started never starts."""
    hosts = FakeHosts()
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
    assert len(hosts.started) <= 1 + 3

"""Concurrent reads from many hosts: results come as they are ready, and a slow host does not delay the others."""

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

PER_HOST = 8

T = TypeVar("T")
R = TypeVar("R")


def map_as_ready(
    items: Iterable[T], work: Callable[[T], R], host_of: Callable[[T], str], *, threads: int, local: int, ahead: int
) -> Iterator[R]:
    """Do `work` for every item in threads; yield results as they are ready, not in order.

    At most `ahead` items are in progress. A host gets at most 8 of the threads, and never all of them; its further
    items wait without a thread. Host '' is this machine, which gets `local` threads. Errors of `items` and of `work`
    are raised here; closing the generator cancels work that has not begun and waits for the rest.
    """
    remote = max(1, min(PER_HOST, threads - 1))
    busy: Counter[str] = Counter()
    waiting: defaultdict[str, deque[T]] = defaultdict(deque)
    lock = threading.Lock()
    ready: SimpleQueue[Future[R]] = SimpleQueue()
    closed = False

    def begin(host: str, item: T) -> None:
        """Start an item or queue it; the caller holds the lock."""
        if busy[host] >= (remote if host else local):
            waiting[host].append(item)
        else:
            busy[host] += 1
            pool.submit(run, host, item)

    def run(host: str, item: T) -> None:
        result: Future[R] = Future()
        try:
            result.set_result(work(item))
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            result.set_exception(error)
        # The host's next item starts here, because the consumer may be busy.
        with lock:
            busy[host] -= 1
            if waiting[host] and not closed:
                begin(host, waiting[host].popleft())
        ready.put(result)

    source = iter(items)
    taken = given = 0
    more = True
    pool = ThreadPoolExecutor(threads, "read")
    try:
        while more or given < taken:
            while more and taken - given < ahead:
                try:
                    item = next(source)
                except StopIteration:
                    more = False
                    break
                taken += 1
                with lock:
                    begin(host_of(item), item)
            if given < taken:
                result = ready.get().result()
                given += 1
                yield result
    finally:
        with lock:
            closed = True
        pool.shutdown(cancel_futures=True)


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Make the next item in a thread while the consumer works on the current one. Errors are raised in its place."""
    with ThreadPoolExecutor(1, "ahead") as thread:
        upcoming: Future[T | None] = thread.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = thread.submit(next, items, None)
            yield item

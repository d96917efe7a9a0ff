"""Verdicts: one per question, even with concurrent decisions, on SQLite and on PostgreSQL."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text, update

from catalog.errors import InvalidQuery, InvalidSetting, NotFound, OutputFailed, VerdictsUnavailable
from catalog.verdicts import DecidedDuplicates, Duplicate, VerdictStore, WrongCategory
from catalog.verdicts.database import Database
from catalog.verdicts.tables import METADATA, VERDICTS
from tests.support.servers.postgres_server import driver, new_database, running_postgres

WORKERS = 8
QUESTION = WrongCategory("l1", "Other Goods", "Home & Garden")
PAIR = Duplicate.of(["b", "a"])


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with running_postgres() as address:
        yield address


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new folder' / 'verdicts.db'}"
    return new_database(request.getfixturevalue("postgres"), tmp_path.name)


@pytest.fixture
def store(url: str) -> Iterator[VerdictStore]:
    store = VerdictStore(url)
    yield store
    store.close()


def test_a_verdict_is_stored_completely(store: VerdictStore, url: str) -> None:
    """Question, decision, note, name and time are stored, and other processes can read them."""
    note = "Größe 🚲, 'quoted' \"twice\"\nand a second line"
    made = store.decide(QUESTION, "accept", note, "anna")
    assert (made.question, made.decision, made.note, made.decided_by) == (QUESTION, "accept", note, "anna")
    assert abs(made.decided_at - datetime.now(UTC)) < timedelta(minutes=1)
    store.decide(PAIR, "skip")
    store.close()
    verdicts, total = VerdictStore(url).page(10)
    assert verdicts[1] == made
    assert (verdicts[0].question, total) == (PAIR, 2)


def test_deciding_again_replaces(store: VerdictStore) -> None:
    """Only the last verdict on a question is kept, and it is listed first; the old one can no longer be withdrawn."""
    first = store.decide(QUESTION, "skip")
    store.decide(PAIR, "accept")
    last = store.decide(QUESTION, "reject", "looked again")
    verdicts, total = store.page(10)
    assert ([verdict.verdict_id for verdict in verdicts], total) == ([last.verdict_id, last.verdict_id - 1], 2)
    assert store.wrong_categories() == {QUESTION.key: "reject"}
    with pytest.raises(NotFound):
        store.withdraw(first.verdict_id)


def test_equality_of_questions() -> None:
    """The order of listings does not matter; another suggestion or seller's category makes another question."""
    assert Duplicate.of(["a", "b", "a"]) == PAIR
    assert Duplicate.of(["b", "a"]).key == PAIR.key != Duplicate.of(["a", "b", "c"]).key
    others = [WrongCategory("l1", "Other Goods", "X"), WrongCategory("l1", "X", "Home & Garden")]
    # The boundaries between texts are part of the question.
    others += [WrongCategory("l", "1Other Goods", "Home & Garden"), WrongCategory("l1", "", "Other GoodsHome & Garden")]
    assert len({question.key for question in (QUESTION, *others)}) == 5
    assert Duplicate.of(["wrong_category", "a"]).key != Duplicate.of(["a", "duplicate"]).key


def test_parts_of_a_decided_duplicate_are_decided() -> None:
    """A part of a decided group is decided; a group with one more listing is not; skipped groups are reported."""
    decisions = {"abc": "reject", "cd": "skip", "abcx": "skip"}
    decided = DecidedDuplicates((Duplicate.of(listings), decision) for listings, decision in decisions.items())
    assert decided.decision_on("abc") == decided.decision_on("ca") == "reject"
    assert decided.decision_on("abcx") == decided.decision_on("cd") == "skip"
    assert decided.decision_on("abcd") is decided.decision_on("bd") is decided.decision_on("yz") is None


def test_undo(store: VerdictStore) -> None:
    """A withdrawn verdict disappears everywhere, and its id is never reused."""
    made = store.decide(PAIR, "accept")
    assert store.duplicates().decision_on(["a", "b"]) == "accept"
    assert store.withdraw(made.verdict_id) == made
    assert store.duplicates().decision_on(["a", "b"]) is None
    assert store.page(10) == ([], 0)
    with pytest.raises(NotFound):
        store.withdraw(made.verdict_id)
    assert store.decide(PAIR, "reject").verdict_id > made.verdict_id
    assert store.duplicates().decision_on(["a", "b"]) == "reject"


def test_decisions_of_other_workers_are_seen(store: VerdictStore, url: str) -> None:
    """Another worker's verdicts, replacements and withdrawals take effect immediately."""
    other = VerdictStore(url)
    assert store.wrong_categories() == {}
    made = other.decide(QUESTION, "skip")
    assert store.wrong_categories() == {QUESTION.key: "skip"}
    made = other.decide(QUESTION, "accept")
    assert store.wrong_categories() == {QUESTION.key: "accept"}
    other.withdraw(made.verdict_id)
    assert store.wrong_categories() == {}
    other.close()


def test_verdicts_committed_out_of_order_are_seen(store: VerdictStore, url: str) -> None:
    """PostgreSQL assigns ids before the commit, so a verdict may appear after one with a greater id."""
    first, begun, _ = (store.decide(WrongCategory(f"l{number}", "a", "b"), "skip") for number in range(3))
    store.withdraw(begun.verdict_id)
    assert store.wrong_categories()[first.question.key] == "skip"
    database = Database(url)
    with database.write_transaction() as connection:
        statement = update(VERDICTS).where(VERDICTS.c.id == first.verdict_id)
        connection.execute(statement.values(id=begun.verdict_id, decision="accept"))
    database.close()
    assert store.wrong_categories()[first.question.key] == "accept"


def test_unchanged_verdicts_are_read_once(store: VerdictStore) -> None:
    """Verdicts are read again only after a decision on the same kind of question."""
    store.decide(QUESTION, "accept")
    before = store.wrong_categories()
    store.decide(PAIR, "accept")
    assert store.wrong_categories() is before
    store.decide(WrongCategory("l2", "a", "b"), "accept")
    assert store.wrong_categories() is not before


def test_pages(store: VerdictStore) -> None:
    """Pages list verdicts newest first, each once, by kind and decision; new decisions do not shift them."""
    for number in range(5):
        store.decide(WrongCategory(f"l{number}", "a", "b"), "accept" if number % 2 else "reject")
    store.decide(PAIR, "accept")
    first, total = store.page(2, kind="wrong_category")
    store.decide(WrongCategory("new", "a", "b"), "skip")
    rest, _ = store.page(10, kind="wrong_category", before=first[-1].verdict_id)
    questions = [verdict.question for verdict in (*first, *rest)]
    listings = [question.listing_id for question in questions if isinstance(question, WrongCategory)]
    assert (listings, total) == (["l4", "l3", "l2", "l1", "l0"], 5)
    assert store.page(10, decision="accept")[1] == 3
    assert store.page(10, kind="duplicate", decision="reject") == ([], 0)


def decide_many(url: str, worker: int) -> list[int]:
    """Decide a question that all workers decide, and some that only this worker decides."""
    store = VerdictStore(url)
    ids = [store.decide(QUESTION, "accept", f"worker {worker}, {number}").verdict_id for number in range(5)]
    ids += [store.decide(WrongCategory(f"l{worker}-{number}", "a", "b"), "reject").verdict_id for number in range(5)]
    store.close()
    return ids


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ProcessPoolExecutor], ids=["threads", "processes"])
def test_eight_at_once(url: str, pool: Callable[..., ThreadPoolExecutor]) -> None:
    """On a missing database, all workers migrate and decide: none fails, and no verdict is lost or duplicated."""
    context = {"mp_context": get_context("spawn")} if pool is ProcessPoolExecutor else {}
    with pool(WORKERS, **context) as workers:
        results = workers.map(decide_many, [url] * WORKERS, range(WORKERS))
        ids = [verdict_id for worker_ids in results for verdict_id in worker_ids]
    assert len(set(ids)) == WORKERS * 10
    store = VerdictStore(url)
    verdicts, total = store.page(1_000)
    assert total == len({verdict.question for verdict in verdicts}) == WORKERS * 5 + 1
    (shared,) = [verdict for verdict in verdicts if verdict.question == QUESTION]
    assert shared.note.endswith(", 4")
    store.close()


def test_one_store_in_eight_threads(store: VerdictStore) -> None:
    """The threads of one service share a store."""
    barrier = threading.Barrier(WORKERS)

    def work(number: int) -> None:
        barrier.wait()
        store.decide(PAIR, "accept", str(number))
        assert store.duplicates().decision_on(["a", "b"]) == "accept"
        assert store.page(5)[1] == 1

    with ThreadPoolExecutor(WORKERS) as threads:
        list(threads.map(work, range(WORKERS)))


def test_migrations_create_the_schema(url: str) -> None:
    """The migrations create the schema of the code, and a second migration changes nothing."""
    database = Database(url)
    database.migrate()
    with database.read_connection() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    database.close()
    again = Database(url)
    again.migrate()
    again.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://user:secret@host/db", "names a mysql database"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("data/verdicts.db", "not the address"),
        ("", "not the address"),
    ],
)
def test_a_wrong_address_is_refused_at_once(url: str, words: str) -> None:
    """A wrong address is refused before anything is opened, with an example and without the password."""
    with pytest.raises(InvalidSetting, match=words) as caught:
        VerdictStore(url)
    assert "sqlite:///data/verdicts.db" in caught.value.hint
    assert "secret" not in caught.value.message + caught.value.hint


def test_an_unavailable_database(tmp_path: Path) -> None:
    """An unreachable server, a folder and a file of another format give the same error, without the password."""
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "text.db").write_text("no database" * 1_000)
    urls = ["postgresql://me:secret@127.0.0.1:1/x", f"sqlite:///{tmp_path}/folder.db", f"sqlite:///{tmp_path}/text.db"]
    for url in urls:
        store = VerdictStore(url)
        for call in (store.migrate, store.wrong_categories, lambda store=store: store.decide(PAIR, "accept")):
            with pytest.raises(VerdictsUnavailable, match="cannot be reached") as caught:
                call()
            assert "secret" not in caught.value.message
            assert "MARKETLENS_VERDICTS__URL" in caught.value.hint
        store.close()


def test_a_failed_open_is_retried(tmp_path: Path) -> None:
    """If the database could not be opened, the next request tries again."""
    (tmp_path / "v.db").mkdir()
    store = VerdictStore(f"sqlite:///{tmp_path}/v.db")
    with pytest.raises(VerdictsUnavailable):
        store.migrate()
    (tmp_path / "v.db").rmdir()
    assert store.decide(PAIR, "accept").verdict_id == 1
    store.close()


@pytest.mark.slow
def test_closed_connections_are_replaced(postgres: str, tmp_path: Path) -> None:
    """Connections that PostgreSQL has closed are reopened without an error."""
    store, other = (VerdictStore(new_database(postgres, tmp_path.name)), create_engine(driver(postgres) + "/postgres"))
    store.decide(PAIR, "accept")
    with other.connect() as connection:
        terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
        assert connection.execute(text(terminate), {"name": tmp_path.name}).all() == [(True,)]
    assert store.duplicates().decision_on(["a", "b"]) == "accept"
    store.close()
    other.dispose()


def test_read_only_sqlite_is_read(tmp_path: Path) -> None:
    """If the file is read-only, verdicts can be read, and the error of a decision says why it fails."""
    path = tmp_path / "v.db"
    store = VerdictStore(f"sqlite:///{path}")
    made = store.decide(PAIR, "accept")
    store.close()
    read_only = VerdictStore(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert read_only.page(5) == ([made], 1)
    for change in (lambda: read_only.decide(PAIR, "reject"), lambda: read_only.withdraw(made.verdict_id)):
        with pytest.raises(OutputFailed, match="cannot be written: attempt to write a readonly database") as caught:
            change()
        assert "MARKETLENS_VERDICTS__URL" in caught.value.hint
    assert read_only.page(5) == ([made], 1)
    read_only.close()


def test_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """A database that a later version has migrated is neither written nor treated as empty."""
    path = tmp_path / "v.db"
    VerdictStore(f"sqlite:///{path}").migrate()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(VerdictsUnavailable, match="another version"):
        VerdictStore(f"sqlite:///{path}").decide(PAIR, "accept")


def test_invalid_questions(store: VerdictStore) -> None:
    """A listing is not a duplicate of itself, and texts that PostgreSQL cannot store are refused on both databases."""
    for question in (Duplicate.of(["a", "a"]), Duplicate.of(["a\0", "b"]), WrongCategory("a", "b", "\0")):
        with pytest.raises(InvalidQuery):
            store.decide(question, "accept")
    with pytest.raises(InvalidQuery):
        store.decide(PAIR, "accept", "\0")
    assert store.page(5) == ([], 0)

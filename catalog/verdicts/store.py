"""The store of verdicts: save, withdraw, list and look up verdicts."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from more_itertools import chunked
from sqlalchemy import ColumnElement, Row, delete, func, insert, select
from sqlalchemy.exc import IntegrityError
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from catalog.errors import InvalidQuery, NotFound, OutputFailed
from catalog.verdicts.database import Database
from catalog.verdicts.questions import (
    DecidedDuplicates,
    Decision,
    Duplicate,
    Kind,
    Question,
    Verdict,
    WrongCategory,
)
from catalog.verdicts.tables import VERDICTS, from_row, question_of, to_row

# If several users decide one question at the same time, each attempt lets one of them through.
_ATTEMPTS = 50
_BATCH = 1_000

T = TypeVar("T")


class VerdictStore:
    """All verdicts of one database. Safe for several threads and several processes.

    Every method except `__init__` and `close` raises VerdictsUnavailable; those that write also raise OutputFailed.
    """

    def __init__(self, url: str) -> None:
        """Check the address; nothing is opened yet. Raises InvalidSetting."""
        self._database = Database(url)
        self._reading = threading.Lock()
        self._cache: dict[Kind, tuple[tuple[object, ...], Any]] = {}  # the version of the rows, and the result of them

    def migrate(self) -> None:
        """Migrate the database if needed. Every other method does so too, in case this failed."""
        self._database.migrate()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    @retry(retry=retry_if_exception_type(IntegrityError), stop=stop_after_attempt(_ATTEMPTS), reraise=True)
    def decide(self, question: Question, decision: Decision, note: str = "", decided_by: str = "") -> Verdict:
        """Store a decision; it replaces any other on this question, and is durable when this returns.

        Raises InvalidQuery for an invalid question.
        """
        _check(question, note)
        row = to_row(question, decision, note, decided_by)
        with self._database.write_transaction() as connection:
            connection.execute(delete(VERDICTS).where(VERDICTS.c.question_key == question.key))
            stored = connection.execute(insert(VERDICTS).values(row).returning(VERDICTS)).one()
        return from_row(stored)

    def withdraw(self, verdict_id: int) -> Verdict:
        """Delete a verdict, so that its question is asked again, and return it. Raises NotFound."""
        with self._database.write_transaction() as connection:
            row = connection.execute(delete(VERDICTS).where(VERDICTS.c.id == verdict_id).returning(VERDICTS)).first()
        if row is None:
            raise NotFound(f"There is no verdict {verdict_id}.", hint="It was withdrawn or replaced by a newer one.")
        return from_row(row)

    def page(
        self, limit: int, *, kind: Kind | None = None, decision: Decision | None = None, before: int | None = None
    ) -> tuple[list[Verdict], int]:
        """Return up to `limit` verdicts with ids below `before`, newest first, and the number on all pages."""
        conditions: list[ColumnElement[bool]] = []
        if kind:
            conditions.append(VERDICTS.c.kind == kind)
        if decision:
            conditions.append(VERDICTS.c.decision == decision)
        older = [VERDICTS.c.id < before] if before is not None else []
        with self._database.read_connection() as connection:
            total = connection.execute(select(func.count()).select_from(VERDICTS).where(*conditions)).scalar_one()
            rows = connection.execute(
                select(VERDICTS).where(*conditions, *older).order_by(VERDICTS.c.id.desc()).limit(limit)
            ).all()
        return [from_row(row) for row in rows], total

    def all_verdicts(self) -> Iterator[Verdict]:
        """Yield a consistent snapshot of all verdicts, oldest first."""
        with self._database.read_connection() as connection:
            statement = select(VERDICTS).order_by(VERDICTS.c.id).execution_options(yield_per=_BATCH)
            for row in connection.execute(statement):
                yield from_row(row)

    def import_verdicts(self, verdicts: Iterable[Verdict]) -> int:
        """Store these verdicts, oldest first, under new ids, all or none; return how many.

        Raises OutputFailed if there are verdicts already.
        """
        count = 0
        with self._database.write_transaction() as connection:
            if connection.execute(select(VERDICTS.c.id).limit(1)).first():
                raise OutputFailed(f"There are verdicts in {self.uri_without_password} already.")
            for batch in chunked(verdicts, _BATCH):
                rows = [
                    to_row(verdict.question, verdict.decision, verdict.note, verdict.decided_by, verdict.decided_at)
                    for verdict in batch
                ]
                connection.execute(insert(VERDICTS), rows)
                count += len(batch)
        return count

    @property
    def uri_without_password(self) -> str:
        """The address of the database without its password, for messages."""
        return self._database.uri_without_password

    def wrong_categories(self) -> Mapping[str, Decision]:
        """Return every decision on a wrong category, by the key of its question."""
        return self._all("wrong_category", lambda rows: {row.question_key: row.decision for row in rows})

    def category_decisions(self) -> Mapping[tuple[str, str, str], Decision]:
        """Return every decision on a wrong category, by listing id, seller's category and suggested category."""
        return {
            (question.listing_id, question.category, question.suggested_category): verdict.decision
            for verdict in self.all_verdicts()
            if isinstance(question := verdict.question, WrongCategory)
        }

    def duplicates(self) -> DecidedDuplicates:
        """Return every decision on duplicates."""
        return self._all(
            "duplicate",
            lambda rows: DecidedDuplicates(
                (question, row.decision)
                for row in rows
                if isinstance(question := question_of(row.kind, row.question), Duplicate)
            ),
        )

    def _all(self, kind: Kind, make: Callable[[list[Row[Any]]], T]) -> T:
        """Return `make(all rows of a kind)`, cached until any process adds or removes a verdict of that kind."""
        of_kind = VERDICTS.c.kind == kind
        with self._reading, self._database.read_connection() as connection:
            # The version is read before the rows: a verdict that comes in between is read again rather than missed.
            ids = VERDICTS.c.id
            # The sum: of two concurrent transactions, the one with the smaller id may be committed last.
            version = connection.execute(select(func.max(ids), func.count(), func.sum(ids)).where(of_kind)).one()
            cached = self._cache.get(kind)
            if cached is None or cached[0] != tuple(version):
                cached = tuple(version), make(list(connection.execute(select(VERDICTS).where(of_kind)).all()))
                self._cache[kind] = cached
        result: T = cached[1]
        return result


def _check(question: Question, note: str) -> None:
    if isinstance(question, Duplicate) and len(question.listing_ids) < 2:
        raise InvalidQuery("A duplicate needs at least two different listings.")
    if isinstance(question, Duplicate):
        texts = question.listing_ids
    else:
        texts = (question.listing_id, question.category, question.suggested_category)
    if any("\0" in text for text in (*texts, note)):
        raise InvalidQuery("The verdict contains a NUL character, which PostgreSQL cannot store.")

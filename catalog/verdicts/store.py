"""Verdicts: kept, taken back, listed, and asked for by question."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from more_itertools import chunked
from sqlalchemy import ColumnElement, Row, delete, func, insert, select
from sqlalchemy.exc import IntegrityError
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from catalog.errors import InvalidQuery, NotFound, OutputFailed
from catalog.verdicts.database import Database
from catalog.verdicts.questions import DecidedDuplicates, Decision, Duplicate, Kind, Question, Verdict
from catalog.verdicts.tables import VERDICTS, from_row, question_of, to_row

# Of several who decide one question at the same moment, each try lets one through.
_TRIES = 50
_AT_A_TIME = 1_000

T = TypeVar("T")


class VerdictStore:
    """All verdicts of one database. Safe for threads, and for several processes at once.

    Every method but the first raises VerdictsUnavailable; those that write raise OutputFailed as well.
    """

    def __init__(self, url: str) -> None:
        """Nothing is opened yet. Raises InvalidSetting."""
        self._database = Database(url)
        self._reading = threading.Lock()
        self._known: dict[Kind, tuple[tuple[object, ...], Any]] = {}

    def migrate(self) -> None:
        """Bring the database up to date. Every other method does so too where this failed."""
        self._database.migrate()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    @retry(retry=retry_if_exception_type(IntegrityError), stop=stop_after_attempt(_TRIES), reraise=True)
    def decide(self, question: Question, decision: Decision, note: str = "", decided_by: str = "") -> Verdict:
        """Keep a decision in the place of any other on this question; kept for good when this returns.

        Raises InvalidQuery for a question that is none.
        """
        _check(question, note)
        row = to_row(question, decision, note, decided_by)
        with self._database.writing() as connection:
            connection.execute(delete(VERDICTS).where(VERDICTS.c.question_key == question.key))
            made = connection.execute(insert(VERDICTS).values(row).returning(VERDICTS)).one()
        return from_row(made)

    def withdraw(self, verdict_id: int) -> Verdict:
        """Forget a verdict, so that its question is asked again; returns what it was. Raises NotFound."""
        with self._database.writing() as connection:
            row = connection.execute(delete(VERDICTS).where(VERDICTS.c.id == verdict_id).returning(VERDICTS)).first()
        if row is None:
            raise NotFound(f"There is no verdict {verdict_id}.", hint="It was withdrawn, or decided anew, before.")
        return from_row(row)

    def page(
        self, limit: int, *, kind: Kind | None = None, decision: Decision | None = None, before: int | None = None
    ) -> tuple[list[Verdict], int]:
        """Up to `limit` verdicts, newest first, those with smaller ids than `before`; and how many there are in all."""
        those: list[ColumnElement[bool]] = []
        if kind:
            those.append(VERDICTS.c.kind == kind)
        if decision:
            those.append(VERDICTS.c.decision == decision)
        older = [VERDICTS.c.id < before] if before is not None else []
        with self._database.reading() as connection:
            total = connection.execute(select(func.count()).select_from(VERDICTS).where(*those)).scalar_one()
            rows = connection.execute(
                select(VERDICTS).where(*those, *older).order_by(VERDICTS.c.id.desc()).limit(limit)
            ).all()
        return [from_row(row) for row in rows], total

    def every(self) -> Iterator[Verdict]:
        """All verdicts of one moment, oldest first."""
        with self._database.reading() as connection:
            question = select(VERDICTS).order_by(VERDICTS.c.id).execution_options(yield_per=_AT_A_TIME)
            for row in connection.execute(question):
                yield from_row(row)

    def fill(self, verdicts: Iterable[Verdict]) -> int:
        """Keep these, oldest first, under ids of their own, all or none; returns how many.

        Raises OutputFailed where there are verdicts already.
        """
        count = 0
        with self._database.writing() as connection:
            if connection.execute(select(VERDICTS.c.id).limit(1)).first():
                raise OutputFailed(f"There are verdicts in {self.shown} already.")
            for some in chunked(verdicts, _AT_A_TIME):
                rows = [to_row(one.question, one.decision, one.note, one.decided_by, one.decided_at) for one in some]
                connection.execute(insert(VERDICTS), rows)
                count += len(some)
        return count

    @property
    def shown(self) -> str:
        """The database's address without its password, for messages."""
        return self._database.shown

    def wrong_categories(self) -> Mapping[str, Decision]:
        """Every decision on a wrong category, by the question's key."""
        return self._all("wrong_category", lambda rows: {row.question_key: row.decision for row in rows})

    def duplicates(self) -> DecidedDuplicates:
        """Every decision on duplicates."""
        return self._all(
            "duplicate",
            lambda rows: DecidedDuplicates(
                (question, row.decision)
                for row in rows
                if isinstance(question := question_of(row.kind, row.question), Duplicate)
            ),
        )

    def _all(self, kind: Kind, make: Callable[[list[Row[Any]]], T]) -> T:
        """What `make` makes of all rows of a kind: once, until there is news of that kind, whoever decided it."""
        mine = VERDICTS.c.kind == kind
        with self._reading, self._database.reading() as connection:
            # Before the rows: what is decided between the two is seen again, rather than missed.
            ids = VERDICTS.c.id
            # The sum: of two that were begun together, the one with the smaller id may be kept last.
            version = connection.execute(select(func.max(ids), func.count(), func.sum(ids)).where(mine)).one()
            known = self._known.get(kind)
            if known is None or known[0] != tuple(version):
                known = tuple(version), make(list(connection.execute(select(VERDICTS).where(mine)).all()))
                self._known[kind] = known
        made: T = known[1]
        return made


def _check(question: Question, note: str) -> None:
    if isinstance(question, Duplicate) and len(question.listing_ids) < 2:
        raise InvalidQuery("A duplicate is of two different listings at least.")
    if isinstance(question, Duplicate):
        texts = question.listing_ids
    else:
        texts = (question.listing_id, question.category, question.suggested_category)
    if any("\0" in text for text in (*texts, note)):
        raise InvalidQuery("There is a NUL character in this, which PostgreSQL does not keep.")

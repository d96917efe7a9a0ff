"""The table of verdicts. Its migrations are in `migrations`; a test compares the two."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, DateTime, Index, Integer, MetaData, Row, String, Table, Text

from catalog.verdicts.questions import Decision, Duplicate, Kind, Question, Verdict, WrongCategory

METADATA = MetaData()

# A new decision on a question replaces the old row by a new one, so the greatest id is the latest decision.
VERDICTS = Table(
    "verdicts",
    METADATA,
    # SQLite autoincrements only INTEGER columns, which have 64 bits there.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("question_key", String(64), nullable=False, unique=True),
    Column("question", JSON, nullable=False),
    Column("decision", String(16), nullable=False),
    Column("note", Text, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("decided_at", DateTime(timezone=True), nullable=False),
    Index("ix_verdicts_kind_id", "kind", "id"),
    # Never reuse the id of a deleted row: readers take a greater id for a new verdict.
    sqlite_autoincrement=True,
)


def to_row(
    question: Question, decision: Decision, note: str, decided_by: str, decided_at: datetime | None = None
) -> dict[str, Any]:
    """Make the row of a decision, without its id; `decided_at` is now by default."""
    return {
        "kind": question.kind,
        "question_key": question.key,
        "question": asdict(question),
        "decision": decision,
        "note": note,
        "decided_by": decided_by,
        "decided_at": decided_at or datetime.now(UTC),
    }


def from_row(row: Row[Any]) -> Verdict:
    """Make the verdict of a row."""
    at: datetime = row.decided_at  # SQLite stores no time zone, PostgreSQL returns the session's
    return Verdict(
        row.id,
        question_of(row.kind, row.question),
        row.decision,
        row.note,
        row.decided_by,
        at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC),
    )


def question_of(kind: Kind, fields: dict[str, Any]) -> Question:
    """Make the question of a row."""
    return WrongCategory(**fields) if kind == "wrong_category" else Duplicate.of(fields["listing_ids"])

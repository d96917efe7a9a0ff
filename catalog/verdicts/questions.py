"""The questions for staff, and their verdicts. Pure."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Decision = Literal["accept", "reject", "skip"]
Kind = Literal["wrong_category", "duplicate"]


@dataclass(frozen=True, slots=True)
class WrongCategory:
    """The question whether a listing belongs in the suggested category. Another suggestion is another question."""

    listing_id: str
    category: str
    suggested_category: str

    @property
    def kind(self) -> Kind:
        """The kind of question."""
        return "wrong_category"

    @property
    def key(self) -> str:
        """A hash that identifies the question."""
        return _hash(self.kind, self.listing_id, self.category, self.suggested_category)


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The question whether these listings are the same. At least two ids, sorted, without duplicates: use `of`."""

    listing_ids: tuple[str, ...]

    @classmethod
    def of(cls, listing_ids: Iterable[str]) -> "Duplicate":
        """Make the question about these listings, given in any order."""
        return cls(tuple(sorted(set(listing_ids))))

    @property
    def kind(self) -> Kind:
        """The kind of question."""
        return "duplicate"

    @property
    def key(self) -> str:
        """A hash that identifies the question."""
        return _hash(self.kind, *self.listing_ids)


Question = WrongCategory | Duplicate


@dataclass(frozen=True, slots=True)
class Verdict:
    """A stored decision. Ids rise: of two verdicts, the one with the greater id was decided later."""

    verdict_id: int
    question: Question
    decision: Decision
    note: str
    decided_by: str
    decided_at: datetime


class DecidedDuplicates:
    """The decisions about duplicates. A subset of a decided question is not asked again."""

    def __init__(self, decided: Iterable[tuple[Duplicate, Decision]]) -> None:
        self._by_listing: defaultdict[str, list[tuple[frozenset[str], Decision]]] = defaultdict(list)
        for question, decision in decided:
            listings = frozenset(question.listing_ids)
            for listing_id in listings:
                self._by_listing[listing_id].append((listings, decision))

    def decision_on(self, listing_ids: Iterable[str]) -> Decision | None:
        """Return the decision on a question with all of these listings; None if there is none.

        Of several decisions, `accept` comes before `reject`, and `reject` before `skip`.
        """
        question = frozenset(listing_ids)
        decisions = {decision for listings, decision in self._by_listing.get(min(question), ()) if question <= listings}
        return next(iter(sorted(decisions)), None)  # accept, reject, skip


def _hash(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

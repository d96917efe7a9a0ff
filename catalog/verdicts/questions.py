"""The questions that are put to staff, and what was decided. Pure."""

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
    """Does this listing belong in another category? Another suggestion is another question."""

    listing_id: str
    category: str
    suggested_category: str

    @property
    def kind(self) -> Kind:
        """Which kind of question."""
        return "wrong_category"

    @property
    def key(self) -> str:
        """The same for the same question."""
        return _hash(self.kind, self.listing_id, self.category, self.suggested_category)


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Are these listings the same? Two at least, sorted, each once: `of` makes them so."""

    listing_ids: tuple[str, ...]

    @classmethod
    def of(cls, listing_ids: Iterable[str]) -> "Duplicate":
        """The question about these listings, in whatever order they come."""
        return cls(tuple(sorted(set(listing_ids))))

    @property
    def kind(self) -> Kind:
        """Which kind of question."""
        return "duplicate"

    @property
    def key(self) -> str:
        """The same for the same question."""
        return _hash(self.kind, *self.listing_ids)


Question = WrongCategory | Duplicate


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision that was kept. Ids rise: of two verdicts, the greater one was decided later."""

    verdict_id: int
    question: Question
    decision: Decision
    note: str
    decided_by: str
    decided_at: datetime


class DecidedDuplicates:
    """What was decided on duplicates. A part of a question that was decided is not asked again."""

    def __init__(self, decided: Iterable[tuple[Duplicate, Decision]]) -> None:
        self._by_listing: defaultdict[str, list[tuple[frozenset[str], Decision]]] = defaultdict(list)
        for question, decision in decided:
            listings = frozenset(question.listing_ids)
            for listing_id in listings:
                self._by_listing[listing_id].append((listings, decision))

    def on(self, listing_ids: Iterable[str]) -> Decision | None:
        """The decision on a question that has all of these listings; None where there is none, `skip` if no other."""
        wanted = frozenset(listing_ids)
        found = {decision for listings, decision in self._by_listing.get(min(wanted), ()) if wanted <= listings}
        return next(iter(sorted(found)), None)  # accept, reject, skip


def _hash(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

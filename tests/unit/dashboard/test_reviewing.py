"""What the review pages decide before anything is drawn."""

from datetime import UTC, datetime

import pytest

from dashboard.review.duplicate_group import differences, kind_in_words
from dashboard.review.evidence import certainty_in_words
from dashboard.review.question_queue import Queue
from dashboard.review.verdicts import rows_of
from search_api.client import ApiError
from search_api.schemas import Duplicate, DuplicateGroup, DuplicateListing, PutVerdict, Verdict, WrongCategory

NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Kept:
    """The API's part that a queue uses; it may be away."""

    def __init__(self) -> None:
        self.verdicts: dict[int, PutVerdict] = {}
        self.is_away = False

    def decide(self, put: PutVerdict) -> Verdict:
        if self.is_away:
            raise ApiError("No answer from the API.")
        number = len(self.verdicts) + 1
        self.verdicts[number] = put
        return Verdict(verdict_id=number, decided_by="", decided_at=NOW, **dict(put))

    def withdraw(self, verdict_id: int) -> None:
        del self.verdicts[verdict_id]


def listing(listing_id: str, price: float | None = 5.0, currency: str = "GBP") -> DuplicateListing:
    return DuplicateListing(
        listing_id=listing_id,
        title="Lamp",
        category="Home",
        subcategory="",
        price=price,
        currency=currency,
        location="Leeds",
        photos=[],
    )


def group(rank: int, *listings: DuplicateListing, probability: float | None = None) -> DuplicateGroup:
    return DuplicateGroup(
        rank=rank,
        kind="same_bytes" if probability is None else "same_item",
        probability=probability,
        listings=list(listings) or [listing(f"a{rank}"), listing(f"b{rank}")],
        price_low=None,
        price_high=None,
        same_place=True,
        same_category=False,
    )


def queue_of(kept: Kept, pages: list[list[DuplicateGroup]]) -> tuple[Queue[DuplicateGroup], list[int | None]]:
    """A queue over pages, and what it was asked to fetch."""
    asked: list[int | None] = []

    def fetch(after: int | None) -> tuple[list[DuplicateGroup], int, int | None]:
        asked.append(after)
        place = len(asked) - 1
        return list(pages[place]), sum(map(len, pages)), pages[place][-1].rank if place + 1 < len(pages) else None

    return Queue(kept, fetch, []), asked  # type: ignore[arg-type]


def test_pages_are_fetched_when_the_questions_run_out() -> None:
    """Deciding asks the API for no list until what was fetched ahead does not fill the page."""
    kept = Kept()
    queue, asked = queue_of(kept, [[group(0), group(1)], [group(2)]])
    [first] = queue.first(1)
    queue.decide(first, "accept")
    assert [one.rank for one in queue.first(1)] == [1]
    assert asked == [None]
    assert [one.rank for one in queue.first(2)] == [1, 2]
    assert asked == [None, 1]
    assert not queue.has_more_than(2)


def test_a_second_press_decides_nothing() -> None:
    """Pressed twice, a button decides what it was drawn for, once."""
    kept = Kept()
    queue, _ = queue_of(kept, [[group(0), group(1)]])
    [first] = queue.first(1)
    queue.decide(first, "accept")
    queue.decide(first, "reject")
    assert [put.decision for put in kept.verdicts.values()] == ["accept"]
    assert queue.remaining == 1


def test_what_was_not_kept_is_asked_again() -> None:
    """An API that is away leaves the question where it is, and says why; the next try clears that."""
    kept = Kept()
    queue, _ = queue_of(kept, [[group(0)]])
    [first] = queue.first(1)
    kept.is_away = True
    queue.decide(first, "accept")
    assert queue.problem is not None
    assert queue.first(1) == [first]
    kept.is_away = False
    queue.decide(first, "accept")
    assert queue.problem is None
    assert queue.first(1) == []


def test_undo_asks_the_last_question_first() -> None:
    """The last verdict is withdrawn, and its question comes before those that waited."""
    kept = Kept()
    queue, _ = queue_of(kept, [[group(0), group(1), group(2)]])
    for decision in ("accept", "skip"):
        queue.decide(queue.first(1)[0], decision)
    queue.undo()
    assert [one.rank for one in queue.first(3)] == [1, 2]
    assert [put.decision for put in kept.verdicts.values()] == ["accept"]
    assert queue.remaining == 2


@pytest.mark.parametrize(
    ("listings", "differ", "words"),
    [
        ([listing("a"), listing("b")], False, "Same price: £5.00"),
        ([listing("a"), listing("b", 7.5)], True, "Prices differ: £5.00 to £7.50, +50%"),
        ([listing("a", 0.0), listing("b", 7.5)], True, "Prices differ: £0.00 to £7.50"),
        ([listing("a"), listing("b", None)], True, "£5.00, or no price"),
        ([listing("a", None), listing("b", None)], False, "No price is known"),
        ([listing("a"), listing("b", 5.0, "EUR")], True, "Prices in different currencies"),
    ],
)
def test_prices_that_differ_are_said(listings: list[DuplicateListing], differ: bool, words: str) -> None:
    """Whether prices differ is told by price and currency, and an unknown price is not the same price."""
    assert differences(group(0, *listings))[0] == (differ, words)


def test_kinds_and_certainties_are_in_words() -> None:
    """A group says what is the same and how sure that is, where a model said it."""
    assert kind_in_words(group(0)) == "Same file, 2 listings"
    assert kind_in_words(group(0, probability=0.93)) == "Same thing, 2 listings, 93% sure"
    assert [certainty_in_words(one) for one in (0.95, 0.8, 0.7, 0.5)] == [
        "Strong evidence",
        "Good evidence",
        "Some evidence",
        "Weak evidence",
    ]


def test_an_exported_verdict_names_every_listing() -> None:
    """A duplicate's listings have a row each, with the verdict in common; a wrong category has both categories."""
    rest = {"verdict_id": 7, "decision": "accept", "note": "", "decided_by": "ann", "decided_at": NOW}
    rows = list(rows_of(Verdict(question=Duplicate(listing_ids=["a", "b"]), **rest)))
    assert [(row["verdict_id"], row["listing_id"]) for row in rows] == [(7, "a"), (7, "b")]
    about = WrongCategory(listing_id="a", category="Home", suggested_category="Garden")
    [row] = rows_of(Verdict(question=about, **rest))
    assert (row["listing_id"], row["category"], row["suggested_category"]) == ("a", "Home", "Garden")

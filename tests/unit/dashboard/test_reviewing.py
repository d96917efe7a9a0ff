"""The logic of the review pages, without their drawing."""

from datetime import UTC, datetime

import pytest

from dashboard.review.duplicate_group import differences, kind_in_words
from dashboard.review.evidence import certainty_in_words
from dashboard.review.question_queue import Queue
from dashboard.review.verdicts import rows_of
from search_api.client import ApiError
from search_api.schemas import Duplicate, DuplicateGroup, DuplicateListing, PutVerdict, Verdict, WrongCategory

NOW = datetime(2026, 11, 23, tzinfo=UTC)


class FakeApi:
    """The part of the API that a queue uses; it may be unavailable."""

    def __init__(self) -> None:
        self.verdicts: dict[int, PutVerdict] = {}
        self.is_unavailable = False

    def decide(self, put: PutVerdict) -> Verdict:
        if self.is_unavailable:
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


def queue_of(api: FakeApi, pages: list[list[DuplicateGroup]]) -> tuple[Queue[DuplicateGroup], list[int | None]]:
    """Return a queue over pages, and the list of its fetches."""
    fetches: list[int | None] = []

    def fetch(after: int | None) -> tuple[list[DuplicateGroup], int, int | None]:
        fetches.append(after)
        number = len(fetches) - 1
        return list(pages[number]), sum(map(len, pages)), pages[number][-1].rank if number + 1 < len(pages) else None

    return Queue(api, fetch, []), fetches  # type: ignore[arg-type]


def test_pages_are_fetched_when_the_questions_run_out() -> None:
    """Deciding fetches nothing until the prefetched items no longer fill the page."""
    api = FakeApi()
    queue, fetches = queue_of(api, [[group(0), group(1)], [group(2)]])
    [first] = queue.first(1)
    queue.decide(first, "accept")
    assert [item.rank for item in queue.first(1)] == [1]
    assert fetches == [None]
    assert [item.rank for item in queue.first(2)] == [1, 2]
    assert fetches == [None, 1]
    assert not queue.has_more_than(2)


def test_a_second_press_decides_nothing() -> None:
    """A button that is pressed twice decides only its own item, and only once."""
    api = FakeApi()
    queue, _ = queue_of(api, [[group(0), group(1)]])
    [first] = queue.first(1)
    queue.decide(first, "accept")
    queue.decide(first, "reject")
    assert [put.decision for put in api.verdicts.values()] == ["accept"]
    assert queue.remaining == 1


def test_a_failed_verdict_can_be_retried() -> None:
    """If the API is unavailable, the item stays in the queue with the error; a successful retry clears it."""
    api = FakeApi()
    queue, _ = queue_of(api, [[group(0)]])
    [first] = queue.first(1)
    api.is_unavailable = True
    queue.decide(first, "accept")
    assert queue.problem is not None
    assert queue.first(1) == [first]
    api.is_unavailable = False
    queue.decide(first, "accept")
    assert queue.problem is None
    assert queue.first(1) == []


def test_undo_puts_the_last_item_first() -> None:
    """Undo withdraws the last verdict, and its item is the next one again."""
    api = FakeApi()
    queue, _ = queue_of(api, [[group(0), group(1), group(2)]])
    for decision in ("accept", "skip"):
        queue.decide(queue.first(1)[0], decision)
    queue.undo()
    assert [item.rank for item in queue.first(3)] == [1, 2]
    assert [put.decision for put in api.verdicts.values()] == ["accept"]
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
def test_price_differences(listings: list[DuplicateListing], differ: bool, words: str) -> None:
    """Prices are compared with their currencies, and an unknown price differs from a known one."""
    assert differences(group(0, *listings))[0] == (differ, words)


def test_kinds_and_certainties_are_in_words() -> None:
    """A group has the kind, and the probability if the model gave one."""
    assert kind_in_words(group(0)) == "Same file, 2 listings"
    assert kind_in_words(group(0, probability=0.93)) == "Same thing, 2 listings, 93% sure"
    assert [certainty_in_words(certainty) for certainty in (0.95, 0.5, 0.3, 0.1)] == [
        "Very likely wrong",
        "Probably wrong",
        "Possibly wrong",
        "Rather right",
    ]


def test_an_exported_verdict_has_every_listing() -> None:
    """Each listing of a duplicate has a row with the same verdict; a wrong category has both categories."""
    rest = {"verdict_id": 7, "decision": "accept", "note": "", "decided_by": "ann", "decided_at": NOW}
    rows = list(rows_of(Verdict(question=Duplicate(listing_ids=["a", "b"]), **rest)))
    assert [(row["verdict_id"], row["listing_id"]) for row in rows] == [(7, "a"), (7, "b")]
    question = WrongCategory(listing_id="a", category="Home", suggested_category="Garden")
    [row] = rows_of(Verdict(question=question, **rest))
    assert (row["listing_id"], row["category"], row["suggested_category"]) == ("a", "Home", "Garden")

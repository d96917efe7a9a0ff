"""A queue of suggestions or duplicate groups to decide. Some are prefetched, so the next one is drawn at once."""

from collections.abc import Callable
from typing import Generic, TypeVar

from search_api.client import ApiError, Client
from search_api.schemas import (
    Decision,
    Duplicate,
    DuplicateGroup,
    DuplicatesResponse,
    PutVerdict,
    Suggestion,
    SuggestionsResponse,
    WrongCategory,
)

PREFETCH = 50

Item = TypeVar("Item", bound=Suggestion | DuplicateGroup)
Fetch = Callable[[int | None], tuple[list[Item], int, int | None]]


class Queue(Generic[Item]):
    """Items for one analyst to decide. The constructor and `first` raise ApiError.

    `fetch` returns the items after a rank, the total number of undecided ones, and the rank to continue from, if any.
    `undo_stack` holds verdicts that can be undone, the newest last; it outlives the queue.
    """

    def __init__(
        self, api: Client, fetch: Fetch[Item], undo_stack: list[tuple[int, Item]], after: int | None = None
    ) -> None:
        self.problem: ApiError | None = None
        self.undo_stack = undo_stack
        self._api = api
        self._fetch = fetch
        self._waiting, self.remaining, self._after = fetch(after)

    def first(self, count: int) -> list[Item]:
        """Return the next `count` items, or as many as there are."""
        if len(self._waiting) < count and self._after is not None:
            more, self.remaining, self._after = self._fetch(self._after)
            self._waiting += more
        return self._waiting[:count]

    def has_more_than(self, count: int) -> bool:
        """Return whether there are items after the first `count`."""
        return len(self._waiting) > count or self._after is not None

    def decide(self, item: Item, decision: Decision) -> None:
        """Save a verdict. If that fails, set `problem` and keep the item."""
        if not any(waiting is item for waiting in self._waiting):
            return  # pressed twice: the second press is no verdict on the next item
        try:
            verdict = self._api.decide(PutVerdict(question=question_of(item), decision=decision))
        except ApiError as error:
            self.problem = error
            return
        self.problem = None
        self._waiting = [waiting for waiting in self._waiting if waiting is not item]
        self.remaining -= 1
        self.undo_stack.append((verdict.verdict_id, item))

    def undo(self) -> None:
        """Withdraw the last verdict and put its item at the front of the queue."""
        if not self.undo_stack:
            return
        verdict_id, item = self.undo_stack[-1]
        try:
            self._api.withdraw(verdict_id)
        except ApiError as error:
            self.problem = error
            return
        self.problem = None
        self.undo_stack.pop()
        self._waiting.insert(0, item)
        self.remaining += 1


def question_of(item: Suggestion | DuplicateGroup) -> WrongCategory | Duplicate:
    """Return the question that a verdict on an item answers."""
    if isinstance(item, Suggestion):
        return WrongCategory(
            listing_id=item.listing_id, category=item.category, suggested_category=item.suggested_category
        )
    return Duplicate(listing_ids=[listing.listing_id for listing in item.listings])


def suggestions_of(response: SuggestionsResponse) -> tuple[list[Suggestion], int, int | None]:
    """Convert a response to what `Queue` fetches."""
    return response.suggestions, response.remaining, response.next_after


def groups_of(response: DuplicatesResponse) -> tuple[list[DuplicateGroup], int, int | None]:
    """Convert a response to what `Queue` fetches."""
    return response.groups, response.remaining, response.next_after

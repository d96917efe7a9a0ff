"""Questions that wait for a verdict, some fetched ahead: deciding one draws the next without asking for a list."""

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

AHEAD = 50

Asked = TypeVar("Asked", bound=Suggestion | DuplicateGroup)
Fetch = Callable[[int | None], tuple[list[Asked], int, int | None]]


class Queue(Generic[Asked]):
    """What one analyst is asked. Raises ApiError when made and in `first`.

    `fetch` gives the questions after a rank, how many are undecided in all, and the rank to go on from. `decided` holds
    what can be undone, the newest last; it outlives the queue.
    """

    def __init__(
        self, api: Client, fetch: Fetch[Asked], decided: list[tuple[int, Asked]], after: int | None = None
    ) -> None:
        self.problem: ApiError | None = None
        self.decided = decided
        self._api = api
        self._fetch = fetch
        self._waiting, self.remaining, self._after = fetch(after)

    def first(self, count: int) -> list[Asked]:
        """The next `count` questions, or as many as there are."""
        if len(self._waiting) < count and self._after is not None:
            more, self.remaining, self._after = self._fetch(self._after)
            self._waiting += more
        return self._waiting[:count]

    def has_more_than(self, count: int) -> bool:
        """Whether there are questions after the first `count`."""
        return len(self._waiting) > count or self._after is not None

    def decide(self, asked: Asked, decision: Decision) -> None:
        """Keep a verdict; where that fails, `problem` says why and the question stays."""
        if not any(one is asked for one in self._waiting):
            return  # pressed twice: that is no verdict on the question that came up in between
        try:
            verdict = self._api.decide(PutVerdict(question=question_of(asked), decision=decision))
        except ApiError as error:
            self.problem = error
            return
        self.problem = None
        self._waiting = [one for one in self._waiting if one is not asked]
        self.remaining -= 1
        self.decided.append((verdict.verdict_id, asked))

    def undo(self) -> None:
        """Withdraw the last verdict and ask its question again, first of all."""
        if not self.decided:
            return
        verdict_id, asked = self.decided[-1]
        try:
            self._api.withdraw(verdict_id)
        except ApiError as error:
            self.problem = error
            return
        self.problem = None
        self.decided.pop()
        self._waiting.insert(0, asked)
        self.remaining += 1


def question_of(asked: Suggestion | DuplicateGroup) -> WrongCategory | Duplicate:
    """What a verdict on it is about."""
    if isinstance(asked, Suggestion):
        return WrongCategory(
            listing_id=asked.listing_id, category=asked.category, suggested_category=asked.suggested_category
        )
    return Duplicate(listing_ids=[listing.listing_id for listing in asked.listings])


def suggestions_of(answer: SuggestionsResponse) -> tuple[list[Suggestion], int, int | None]:
    """The answer as a queue wants it."""
    return answer.suggestions, answer.remaining, answer.next_after


def groups_of(answer: DuplicatesResponse) -> tuple[list[DuplicateGroup], int, int | None]:
    """The answer as a queue wants it."""
    return answer.groups, answer.remaining, answer.next_after

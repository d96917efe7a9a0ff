"""What is asked of the Search page, and how a shared link spells it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search_api.schemas import MAX_LIMIT, Filter, SearchRequest

DEFAULT_LIMIT: int = SearchRequest.model_fields["limit"].default

Params = dict[str, list[str]]


@dataclass(frozen=True)
class Asked:
    """A listing and the filters. The field names are the widgets' keys and the URL's parameters too."""

    listing_id: str = ""
    category: tuple[str, ...] = ()
    price_min: float | None = None
    price_max: float | None = None
    location: str = ""
    limit: int = DEFAULT_LIMIT

    @classmethod
    def from_params(cls, params: Mapping[str, Sequence[str]]) -> "Asked":
        """Read a URL's parameters. What makes no sense there counts as not asked."""

        def last(name: str) -> str:
            return next(reversed(params.get(name, ())), "")

        limit = _number(last("limit"))
        return cls(
            listing_id=last("listing_id"),
            category=tuple(params.get("category", ())),
            price_min=_number(last("price_min")),
            price_max=_number(last("price_max")),
            location=last("location"),
            limit=DEFAULT_LIMIT if limit is None else min(max(int(limit), 1), MAX_LIMIT),
        )

    def to_params(self) -> Params:
        """Spell it as URL parameters, leaving out what was not asked."""
        params: Params = {}
        if self.listing_id:
            params["listing_id"] = [self.listing_id]
        if self.category:
            params["category"] = list(self.category)
        if self.price_min is not None:
            params["price_min"] = [f"{self.price_min:.15g}"]
        if self.price_max is not None:
            params["price_max"] = [f"{self.price_max:.15g}"]
        if self.location:
            params["location"] = [self.location]
        if self.limit != DEFAULT_LIMIT:
            params["limit"] = [str(self.limit)]
        return params

    @property
    def prices_crossed(self) -> bool:
        """Whether no price could satisfy both bounds."""
        return self.price_min is not None and self.price_max is not None and self.price_min > self.price_max

    def filters_in_words(self) -> list[str]:
        """Name the filters that are on, one phrase each."""
        phrases = []
        if self.category:
            phrases.append(f"Category: {' or '.join(self.category)}")
        if self.price_min is not None:
            phrases.append(f"Price: {self.price_min:,.2f} or more")
        if self.price_max is not None:
            phrases.append(f"Price: {self.price_max:,.2f} or less")
        if self.location:
            phrases.append(f"Location begins with: {self.location}")
        return phrases

    def request(self) -> SearchRequest:
        """Put it as the API wants it."""
        return SearchRequest(
            listing_id=self.listing_id or None,
            filter=Filter(
                categories=list(self.category),
                price_min=self.price_min,
                price_max=self.price_max,
                location=self.location or None,
            ),
            limit=self.limit,
        )


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None

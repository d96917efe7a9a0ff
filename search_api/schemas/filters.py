"""What a hit must fulfil."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from search_api.schemas.common import Identity, Strict, Text

MAX_EXCLUDED = 10_000

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Filter(Strict):
    """What a hit must fulfil; what is left out is not asked for. Every field narrows the answer further."""

    categories: list[Text] = Field(default_factory=list, max_length=200, description="Any of these root categories.")
    subcategory: Text | None = Field(
        None, description="A path below the root category, or its beginning: `Beds` passes `Beds / Other` too."
    )
    price_min: Price | None = Field(None, description="A price filter leaves out listings without a price.")
    price_max: Price | None = None
    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")] | None = Field(None, description="ISO 4217.")
    location: Text | None = Field(None, description="What the location begins with, case and all: `Leeds`.")
    listed_after: datetime | None = Field(None, description="ISO 8601; without a zone, UTC.")
    exclude_listing_ids: list[Identity] = Field(default_factory=list, max_length=MAX_EXCLUDED)

    @model_validator(mode="after")
    def _prices_in_order(self) -> "Filter":
        if self.price_min is not None and self.price_max is not None and self.price_min > self.price_max:
            raise ValueError(f"price_min {self.price_min:g} is above price_max {self.price_max:g}")
        return self

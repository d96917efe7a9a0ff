"""Search filters."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from search_api.schemas.common import Identity, StrictModel, Text

MAX_EXCLUDED = 10_000

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Filter(StrictModel):
    """Conditions that each hit must meet, all of them at once. Omitted fields do not filter."""

    categories: list[Text] = Field(default_factory=list, max_length=200, description="Any of these root categories.")
    subcategory: Text | None = Field(
        None, description="A path below the root category, or its first parts: `Beds` also matches `Beds / Other`."
    )
    price_min: Price | None = Field(None, description="A price filter excludes listings without a price.")
    price_max: Price | None = None
    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")] | None = Field(None, description="ISO 4217.")
    location: Text | None = Field(None, description="Prefix of the location, case-sensitive: `Leeds`.")
    listed_after: datetime | None = Field(None, description="ISO 8601; UTC if it has no time zone.")
    exclude_listing_ids: list[Identity] = Field(default_factory=list, max_length=MAX_EXCLUDED)

    @model_validator(mode="after")
    def _prices_in_order(self) -> "Filter":
        if self.price_min is not None and self.price_max is not None and self.price_min > self.price_max:
            raise ValueError(f"price_min {self.price_min:g} is above price_max {self.price_max:g}")
        return self

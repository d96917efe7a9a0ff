"""The state of the Clusters page, and its URL parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.clusters.selection import MapSelection
from dashboard.link import Params, last_value, non_default_params, unique_values

COLOURINGS = ("category", "subcategory", "price", "confidence")
LABELS = ("categories", "title words", "none")
SECTIONS = ("selected photos", "overlap", "distance", "outliers")


@dataclass(frozen=True)
class MapState:
    """The field names are both the widgets' keys and the URL's parameters."""

    colour: str = COLOURINGS[0]
    labels: str = LABELS[0]
    shown: tuple[str, ...] = ()  # categories; all if empty
    part: str = SECTIONS[0]
    outliers: str = ""  # the category of the outliers
    area: str = ""
    photo: str = ""

    @classmethod
    def from_params(cls, params: Mapping[str, Sequence[str]]) -> "MapState":
        """Read a URL's parameters. Invalid values are ignored."""

        def valid_or_default(name: str, choices: Sequence[str]) -> str:
            value = last_value(params, name)
            return value if value in choices else choices[0]

        return cls(
            colour=valid_or_default("colour", COLOURINGS),
            labels=valid_or_default("labels", LABELS),
            shown=unique_values(params, "shown"),
            part=valid_or_default("part", SECTIONS),
            outliers=last_value(params, "outliers"),
            area=last_value(params, "area"),
            photo=last_value(params, "photo"),
        )

    def to_params(self) -> Params:
        """Return the URL parameters, without defaults."""
        return non_default_params(self)

    @property
    def selection(self) -> MapSelection:
        """The selection on the map."""
        return MapSelection.from_params(self.area, self.photo)


def selection_params(selection: dict[str, Any] | None) -> dict[str, str]:
    """Convert the map component's selection to fields of MapState."""
    data = selection or {}
    area = tuple((float(x), float(y)) for x, y in data.get("area") or ())
    return {"area": "", "photo": ""} | MapSelection(area=area, photo=str(data.get("photo") or "")).to_params()

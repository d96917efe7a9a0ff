"""What the Clusters page is asked, and how a shared link spells it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.clusters.selection import MapSelection
from dashboard.link import Params, every, last, spell

COLOURINGS = ("category", "subcategory", "price", "confidence")
LABELS = ("categories", "title words", "none")
PARTS = ("chosen photos", "overlap", "distance", "outliers")


@dataclass(frozen=True)
class MapState:
    """The field names are the widgets' keys and the URL's parameters too."""

    colour: str = COLOURINGS[0]
    labels: str = LABELS[0]
    shown: tuple[str, ...] = ()  # categories; none is all
    part: str = PARTS[0]
    outliers: str = ""  # of this category
    area: str = ""
    photo: str = ""

    @classmethod
    def from_params(cls, params: Mapping[str, Sequence[str]]) -> "MapState":
        """Read a URL's parameters. What makes no sense there counts as not asked."""

        def one_of(name: str, choices: Sequence[str]) -> str:
            given = last(params, name)
            return given if given in choices else choices[0]

        return cls(
            colour=one_of("colour", COLOURINGS),
            labels=one_of("labels", LABELS),
            shown=every(params, "shown"),
            part=one_of("part", PARTS),
            outliers=last(params, "outliers"),
            area=last(params, "area"),
            photo=last(params, "photo"),
        )

    def to_params(self) -> Params:
        """Spell it as URL parameters, leaving out what was not asked."""
        return spell(self)

    @property
    def chosen(self) -> MapSelection:
        """What is chosen on the map."""
        return MapSelection.read(self.area, self.photo)


def state_of(chosen: dict[str, Any] | None) -> dict[str, str]:
    """What the map says is chosen, as the fields of MapState."""
    given = chosen or {}
    area = tuple((float(x), float(y)) for x, y in given.get("area") or ())
    return {"area": "", "photo": ""} | MapSelection(area=area, photo=str(given.get("photo") or "")).spell()

"""The selection on the map: an area or one photo. It is in the URL, so that it can be shared."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_api.schemas import MapColumns

Corner = tuple[float, float]


@dataclass(frozen=True)
class MapSelection:
    """An area by its corners, or a photo, or nothing."""

    area: tuple[Corner, ...] = ()
    photo: str = ""

    @classmethod
    def from_params(cls, area: str, photo: str) -> "MapSelection":
        """Read a URL's parameters. Invalid values are ignored."""
        numbers = [_number(number) for number in area.split("~")]
        corners = tuple(zip(numbers[::2], numbers[1::2], strict=False))
        return cls(area=corners) if len(corners) > 2 and all(map(math.isfinite, numbers)) else cls(photo=photo)

    def to_params(self) -> dict[str, str]:
        """Return the URL parameters."""
        if self.area:
            return {"area": "~".join(f"{number:g}" for corner in self.area for number in corner)}
        return {"photo": self.photo} if self.photo else {}

    def points(self, columns: MapColumns, among: Sequence[int]) -> list[int]:
        """Return the points `among` that are selected."""
        if self.area:
            is_inside = inside(np.array(columns.x), np.array(columns.y), self.area)
            return [point for point in among if is_inside[point]]
        return [point for point in among if columns.photo_id[point] == self.photo] if self.photo else []


def inside(x: NDArray[np.float64], y: NDArray[np.float64], area: Sequence[Corner]) -> NDArray[np.bool_]:
    """Return which points are in a polygon: a ray from them crosses its outline an odd number of times."""
    is_inside = np.zeros(len(x), bool)
    for (ax, ay), (bx, by) in zip(area, [area[-1], *area[:-1]], strict=True):
        if ay == by:
            continue
        is_inside ^= ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return is_inside


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan

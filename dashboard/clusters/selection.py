"""What is chosen on the map: an area or one photo. In the URL, so that it can be shared."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_api.schemas import MapColumns

Corner = tuple[float, float]


@dataclass(frozen=True)
class MapSelection:
    """An area by its corners, or a photo; neither is nothing."""

    area: tuple[Corner, ...] = ()
    photo: str = ""

    @classmethod
    def read(cls, area: str, photo: str) -> "MapSelection":
        """Read what a URL says. What makes no sense there counts as nothing."""
        numbers = [_number(number) for number in area.split("~")]
        corners = tuple(zip(numbers[::2], numbers[1::2], strict=False))
        return cls(area=corners) if len(corners) > 2 and all(map(math.isfinite, numbers)) else cls(photo=photo)

    def spell(self) -> dict[str, str]:
        """Spell it as URL parameters."""
        if self.area:
            return {"area": "~".join(f"{number:g}" for corner in self.area for number in corner)}
        return {"photo": self.photo} if self.photo else {}

    def points(self, columns: MapColumns, among: Sequence[int]) -> list[int]:
        """Which of these points are chosen."""
        if self.area:
            is_in = inside(np.array(columns.x), np.array(columns.y), self.area)
            return [point for point in among if is_in[point]]
        return [point for point in among if columns.photo_id[point] == self.photo] if self.photo else []


def inside(x: NDArray[np.float64], y: NDArray[np.float64], area: Sequence[Corner]) -> NDArray[np.bool_]:
    """Which points lie within a polygon: those from which a ray crosses its outline an odd number of times."""
    is_in = np.zeros(len(x), bool)
    for (ax, ay), (bx, by) in zip(area, [area[-1], *area[:-1]], strict=True):
        if ay == by:
            continue
        is_in ^= ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return is_in


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan

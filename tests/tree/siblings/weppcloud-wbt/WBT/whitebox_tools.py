"""In place of the compiled terrain tools."""

from __future__ import annotations

import itertools


class WhiteboxTools:
    """Terrain analysis on rows of heights."""

    def slope(self, rows: list[list[float]], cellsize: float) -> list[list[float]]:
        """Return rise over run from each cell to its right neighbour; the last column has none."""
        return [[abs(right - left) / cellsize for left, right in itertools.pairwise(row)] for row in rows]

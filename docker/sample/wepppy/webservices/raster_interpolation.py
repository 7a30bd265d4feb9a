"""Values between the centres of a raster's cells, also beside cells without data and along its edges."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wepppy.webservices.raster_source import RasterSource

METHODS = ("nearest", "bilinear", "cubic")
_CUBIC_REACH = 4


def interpolate(source: RasterSource, x: float, y: float, method: str) -> list[float | None] | None:
    """Return the value of each band at a point (in the raster's own system), None outside the raster.

    A band is None where the cell that holds the point has no data. Beyond the outermost centres the outermost
    cells go on. Cubic convolution (Keys 1981, IEEE Transactions on Acoustics, Speech, and Signal Processing
    29; a = -1/2) needs its sixteen cells; where one of them has no data the four around the point decide,
    each by its share of what is there. Raises RasterError.
    """
    cell = source.cell(x, y)
    if cell is None:
        return None
    # Of one row and column of cells around the point, as far as they exist; the rest repeats the outermost.
    column, row = source.position(x, y)
    left, top = math.floor(column - 0.5), math.floor(row - 0.5)
    columns = np.clip(np.arange(left - 1, left + _CUBIC_REACH - 1), 0, source.width - 1)
    rows = np.clip(np.arange(top - 1, top + _CUBIC_REACH - 1), 0, source.height - 1)
    window = source.window(
        int(columns[0]), int(rows[0]), int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1
    )
    blocks = window[:, (rows - rows[0])[:, None], (columns - columns[0])[None, :]]
    held = np.ma.getmaskarray(window)[:, cell[1] - rows[0], cell[0] - columns[0]]
    nearest = window.data[:, cell[1] - rows[0], cell[0] - columns[0]]
    across, down = column - 0.5 - left, row - 0.5 - top
    values: list[float | None] = []
    for band in range(source.bands):
        if held[band]:
            values.append(None)
        elif method == "nearest":
            values.append(float(nearest[band]))
        else:
            data, missing = blocks.data[band], np.ma.getmaskarray(blocks)[band]
            values.append(_blend(data, missing, across, down, cubic=method == "cubic"))
    return values


def _blend(
    data: NDArray[np.float64], missing: NDArray[np.bool_], across: float, down: float, *, cubic: bool
) -> float:
    if cubic and not missing.any():
        return float(_cubic_weights(down) @ data @ _cubic_weights(across))
    weights = np.outer([1 - down, down], [1 - across, across])
    weights[missing[1:3, 1:3]] = 0
    # The cell that holds the point is one of the four and has data: the sum can't be nothing.
    return float((np.where(missing, 0, data)[1:3, 1:3] * weights).sum() / weights.sum())


def _cubic_weights(part: float) -> NDArray[np.float64]:
    near = [part, 1 - part]
    far = [1 + part, 2 - part]
    inner = [1.5 * distance**3 - 2.5 * distance**2 + 1 for distance in near]
    outer = [-0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2 for distance in far]
    return np.array([outer[0], inner[0], inner[1], outer[1]])

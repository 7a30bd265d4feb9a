"""Pictures and measures of relief: what `gdaldem` computes, from a terrain model in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wepppy.terrain.surface import ground_colours, horn, light

Floats = NDArray[np.floating[Any]]

_T = TypeVar("_T", bound=np.generic)

NODATA = -9999.0
# Relief is measured by so many rows at a time: a dozen arrays of a whole crop would be too much memory.
_ROWS = 256


def _hillshade(z: Floats, cell: float) -> Floats:
    shade: Floats = 1 + 254 * light(*horn(z, cell, cell))
    return shade


def _slope(z: Floats, cell: float) -> Floats:
    return np.degrees(np.arctan(np.hypot(*horn(z, cell, cell))))


def _aspect(z: Floats, cell: float) -> Floats:
    east, north = horn(z, cell, cell)
    downhill = np.degrees(np.arctan2(-east, -north)) % 360
    # A remainder can round up to the divisor itself.
    downhill = np.where(downhill >= 360, 0, downhill)
    return np.where((east == 0) & (north == 0), NODATA, downhill)


def _neighbours(z: NDArray[_T]) -> list[NDArray[_T]]:
    rows, columns = z.shape[0] - 2, z.shape[1] - 2
    steps = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]
    return [z[row : row + rows, column : column + columns] for row, column in steps]


def _tri(z: Floats, _: float) -> Floats:
    """Terrain ruggedness: Riley, DeGloria & Elliot 1999, Intermountain Journal of Sciences 5."""
    return np.sqrt(sum((around - z[1:-1, 1:-1]) ** 2 for around in _neighbours(z)))


def _tpi(z: Floats, _: float) -> Floats:
    """Topographic position: height above the neighbours' mean (Wilson et al. 2007, Marine Geodesy 30)."""
    return z[1:-1, 1:-1] - sum(_neighbours(z)) / 8


def _roughness(z: Floats, _: float) -> Floats:
    """Largest difference within three by three cells (Wilson et al. 2007)."""
    cells = [*_neighbours(z), z[1:-1, 1:-1]]
    span: Floats = np.maximum.reduce(cells) - np.minimum.reduce(cells)
    return span


MEASURES: dict[str, Callable[[Floats, float], Floats]] = {
    "hillshade": _hillshade,
    "slope": _slope,
    "aspect": _aspect,
    "tri": _tri,
    "tpi": _tpi,
    "roughness": _roughness,
}
MODES = (*MEASURES, "color-relief")


def measure(mode: str, z: Floats, empty: NDArray[np.bool_], cell: float) -> tuple[NDArray[np.generic], float]:
    """Return ([row, column] values, nodata) of one of MEASURES.

    `z` and `empty` (elevation in metres, True where there is none) have one more row and column on each side
    than the answer; `cell` is in metres. A value needs all nine cells. Hillshade is 1 to 255 (uint8, nodata
    0) of a light in the north-west at 45 degrees, slope and aspect are degrees (aspect clockwise from north,
    none where it is flat).
    """
    shade = mode == "hillshade"
    nodata = 0.0 if shade else NODATA
    measured = np.empty((z.shape[0] - 2, z.shape[1] - 2), dtype=np.uint8 if shade else np.float32)
    for row in range(0, measured.shape[0], _ROWS):
        part, unknown = z[row : row + _ROWS + 2], empty[row : row + _ROWS + 2]
        values = MEASURES[mode](np.where(unknown, 0, part).astype(np.float32), cell)
        missing = np.logical_or.reduce([*_neighbours(unknown), unknown[1:-1, 1:-1]])
        measured[row : row + _ROWS] = np.where(missing, nodata, np.rint(values) if shade else values)
    return measured, nodata


def tint(z: NDArray[np.generic], empty: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return [red, green, blue, alpha] by height within the crop's own relief, transparent without data."""
    known = z[~empty]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    picture = np.zeros((4, *z.shape), dtype=np.uint8)
    for row in range(0, z.shape[0], _ROWS):
        part, there = z[row : row + _ROWS], ~empty[row : row + _ROWS]
        share = (part.astype(np.float32) - low) / max(high - low, 1e-6)
        colours = np.where(there[..., np.newaxis], np.rint(ground_colours(share)), 0)
        picture[:3, row : row + _ROWS] = np.moveaxis(colours, -1, 0)
        picture[3, row : row + _ROWS] = np.where(there, 255, 0)
    return picture

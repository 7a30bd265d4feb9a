"""Pictures and measures of relief: what `gdaldem` computes, from a terrain model in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

_T = TypeVar("_T", bound=np.generic)

NODATA = -9999.0
_LIGHT_AZIMUTH = np.radians(315.0)
_LIGHT_ALTITUDE = np.radians(45.0)
# Green lowlands, yellow and brown slopes, white summits: share of the relief, red, green, blue.
_TINTS = np.array(
    [
        (0.00, 48, 112, 72),
        (0.25, 134, 174, 96),
        (0.50, 232, 214, 146),
        (0.75, 168, 116, 78),
        (1.00, 250, 250, 250),
    ]
)


def _steepness(z: Floats, cell: float) -> tuple[Floats, Floats]:
    """Return the rise per metre towards east and north, weighted over three rows and columns.

    Horn 1981, Hill shading and the reflectance map, Proceedings of the IEEE 69.
    """
    across = z[:-2] + 2 * z[1:-1] + z[2:]
    down = z[:, :-2] + 2 * z[:, 1:-1] + z[:, 2:]
    return (across[:, 2:] - across[:, :-2]) / (8 * cell), (down[:-2] - down[2:]) / (8 * cell)


def _hillshade(z: Floats, cell: float) -> Floats:
    east, north = _steepness(z, cell)
    light_east = np.sin(_LIGHT_AZIMUTH) * np.cos(_LIGHT_ALTITUDE)
    light_north = np.cos(_LIGHT_AZIMUTH) * np.cos(_LIGHT_ALTITUDE)
    # The cosine between the light and the surface's normal (-east, -north, 1).
    towards = np.sin(_LIGHT_ALTITUDE) - east * light_east - north * light_north
    shade: Floats = 1 + 254 * np.maximum(towards / np.sqrt(1 + east**2 + north**2), 0)
    return shade


def _slope(z: Floats, cell: float) -> Floats:
    return np.degrees(np.arctan(np.hypot(*_steepness(z, cell))))


def _aspect(z: Floats, cell: float) -> Floats:
    east, north = _steepness(z, cell)
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
    values = MEASURES[mode](np.where(empty, 0, z).astype(np.float32), cell)
    unknown = np.logical_or.reduce([*_neighbours(empty), empty[1:-1, 1:-1]])
    if mode == "hillshade":
        return np.where(unknown, 0, np.rint(values)).astype(np.uint8), 0.0
    return np.where(unknown, NODATA, values).astype(np.float32), NODATA


def tint(z: NDArray[np.generic], empty: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return [red, green, blue, alpha] by height within the crop's own relief, transparent without data."""
    known = z[~empty]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    share = (z.astype(np.float32) - low) / max(high - low, 1e-6)
    bands = [np.interp(share, _TINTS[:, 0], _TINTS[:, band]) for band in (1, 2, 3)]
    picture = np.stack([*bands, np.full(z.shape, 255.0)])
    return np.where(empty, 0, np.rint(picture)).astype(np.uint8)

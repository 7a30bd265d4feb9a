"""The shape of a surface: slope, aspect, colours by height, and small holes closed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.features import sieve
from rasterio.fill import fillnodata

from wepppy.terrain.flow import Floats

# Low to high ground: GRASS GIS, colour table "elevation", softened.
GROUND = ((36, 112, 86), (146, 182, 106), (236, 222, 150), (178, 122, 82), (250, 250, 248))


def ground_colours(share: NDArray[Any]) -> NDArray[np.float64]:
    """Return red, green, blue (0 to 255, in a last axis) of ground by its height, 0 the lowest to 1 the highest."""
    stops = np.linspace(0, 1, len(GROUND))
    return np.stack([np.interp(share, stops, band) for band in zip(*GROUND, strict=True)], axis=-1)


def slope_and_aspect(elevation: Floats, cell_size: float) -> tuple[Floats, Floats]:
    """Return the steepest slope (m/m), and where it faces in degrees clockwise from north, NaN on level ground.

    Both are NaN where one of a cell's neighbours has no data. Source: Horn (1981), Hill shading and the reflectance
    map, Proceedings of the IEEE 69.
    """
    padded = np.pad(elevation, 1, constant_values=np.nan)
    across = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    down = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    eastwards = (across[:, 2:] - across[:, :-2]) / (8 * cell_size)
    northwards = (down[:-2] - down[2:]) / (8 * cell_size)
    slope = np.where(np.isnan(elevation), np.nan, np.hypot(eastwards, northwards))
    aspect = np.degrees(np.arctan2(-eastwards, -northwards)) % 360.0
    return slope, np.where(slope > 0, aspect, np.nan)


def close_holes(elevation: Floats) -> Floats:
    """Return the elevations with the gaps that do not reach the border interpolated from their rims.

    Without this a gap of a few cells would swallow the streams around it. Gaps larger than the border is long stay.
    """
    missing = np.isnan(elevation)
    # A closed frame joins what reaches the border into one region, which is then too large to be removed.
    framed = np.pad(missing, 1, constant_values=True).astype(np.uint8)
    outside = sieve(framed, size=2 * sum(elevation.shape) + 4, connectivity=8)[1:-1, 1:-1] == 1
    closed = fillnodata(elevation.astype(np.float32), mask=~missing, max_search_distance=max(elevation.shape))
    return np.where(missing & ~outside, closed, elevation)

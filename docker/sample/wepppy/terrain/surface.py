"""The shape of a surface: slope, aspect, light, colours by height, and small holes closed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.features import sieve
from rasterio.fill import fillnodata

from wepppy.terrain.flow import Floats

# Low to high ground: GRASS GIS, colour table "elevation", softened.
GROUND = ((36, 112, 86), (146, 182, 106), (236, 222, 150), (178, 122, 82), (250, 250, 248))


def horn(elevation: NDArray[Any], width: float, height: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return metres of rise per metre eastwards and northwards for all cells but the outermost ring.

    `width` and `height` are a cell's, in metres; the type of the elevations is kept. Source: Horn (1981), Hill shading
    and the reflectance map, Proceedings of the IEEE 69.
    """
    across = elevation[:-2] + 2 * elevation[1:-1] + elevation[2:]
    down = elevation[:, :-2] + 2 * elevation[:, 1:-1] + elevation[:, 2:]
    return (across[:, 2:] - across[:, :-2]) / (8 * width), (down[:-2] - down[2:]) / (8 * height)


def light(
    eastwards: NDArray[Any], northwards: NDArray[Any], azimuth: float = 315.0, altitude: float = 45.0
) -> NDArray[Any]:
    """Return the share of light (0 to 1) on ground that rises so many metres per metre.

    `azimuth` is where the light comes from, degrees clockwise from north; `altitude` degrees above the horizon.
    """
    level, high = math.cos(math.radians(altitude)), math.sin(math.radians(altitude))
    east, north = (level * math.sin(math.radians(azimuth)), level * math.cos(math.radians(azimuth)))
    # The cosine between the light and the surface's normal (-eastwards, -northwards, 1).
    cosine = high - east * eastwards - north * northwards
    shade: NDArray[Any] = np.maximum(cosine / np.sqrt(1 + eastwards**2 + northwards**2), 0)
    return shade


def ground_colours(share: NDArray[Any]) -> NDArray[np.float64]:
    """Return red, green, blue (0 to 255, in a last axis) of ground by its height, 0 the lowest to 1 the highest."""
    stops = np.linspace(0, 1, len(GROUND))
    return np.stack([np.interp(share, stops, band) for band in zip(*GROUND, strict=True)], axis=-1)


def slope_and_aspect(elevation: Floats, cell_size: float) -> tuple[Floats, Floats]:
    """Return the steepest slope (m/m), and where it faces in degrees clockwise from north, NaN on level ground.

    Both are NaN where one of a cell's neighbours has no data.
    """
    eastwards, northwards = horn(np.pad(elevation, 1, constant_values=np.nan), cell_size, cell_size)
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

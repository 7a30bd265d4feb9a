"""The shape of a surface: slope, aspect, hillshade, colours by height, and small holes closed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wepppy.terrain.flow import STEPS, Floats

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
    east, north = level * math.sin(math.radians(azimuth)), level * math.cos(math.radians(azimuth))
    # The cosine between the light and the surface's normal (-eastwards, -northwards, 1).
    cosine = high - east * eastwards - north * northwards
    shade: NDArray[Any] = np.maximum(cosine / np.sqrt(1 + eastwards**2 + northwards**2), 0)
    return shade


def ground_colours(share: NDArray[Any]) -> NDArray[np.float64]:
    """Return red, green, blue (0 to 255, in a last axis) of ground by its height, 0 the lowest to 1 the highest."""
    stops = np.linspace(0, 1, len(GROUND))
    return np.stack([np.interp(share, stops, band) for band in zip(*GROUND, strict=True)], axis=-1)


def gradient(elevation: Floats, cell_size: float) -> tuple[Floats, Floats]:
    """Return `horn` of every cell, NaN where one of the nine cells has no data."""
    eastwards, northwards = horn(np.pad(elevation, 1, constant_values=np.nan), cell_size, cell_size)
    missing = np.isnan(elevation)
    eastwards[missing] = np.nan
    northwards[missing] = np.nan
    return eastwards, northwards


def slope(elevation: Floats, cell_size: float) -> Floats:
    """Return the tangent of the steepest slope (m/m)."""
    eastwards, northwards = gradient(elevation, cell_size)
    return np.hypot(eastwards, northwards)


def aspect(elevation: Floats, cell_size: float) -> Floats:
    """Return the compass direction that the ground faces, degrees clockwise from north; NaN on level ground."""
    eastwards, northwards = gradient(elevation, cell_size)
    facing = np.degrees(np.arctan2(-eastwards, -northwards)) % 360.0
    facing[(eastwards == 0) & (northwards == 0)] = np.nan
    return facing


def hillshade(elevation: Floats, cell_size: float) -> NDArray[np.uint8]:
    """Return the brightness of the ground under a light in the north-west, 1 to 255, and 0 where there is no slope."""
    shade = np.floor(1 + 254 * light(*gradient(elevation, cell_size)) + 0.5)
    return np.where(np.isnan(shade), 0, shade).astype(np.uint8)


def close_holes(elevation: Floats) -> Floats:
    """Return the elevations with every nodata area that does not reach the border filled from its rim inwards.

    Each round gives the cells at the rim the mean of their known neighbours, so a hole becomes a smooth patch.
    Without this a gap of a few cells would swallow the streams around it.
    """
    missing = np.isnan(elevation)
    outside = _reached_from_border(missing)
    holes = missing & ~outside
    result = elevation.copy()
    while holes.any():
        total, known = _neighbour_sums(result)
        rim = holes & (known > 0)
        if not rim.any():
            break  # a raster without a single valid cell
        result[rim] = total[rim] / known[rim]
        holes &= ~rim
    return result


def _neighbour_sums(values: Floats) -> tuple[Floats, Floats]:
    padded = np.pad(values, 1, constant_values=np.nan)
    rows, columns = values.shape
    total = np.zeros(values.shape)
    known = np.zeros(values.shape)
    for row, column in STEPS:
        part = padded[1 + row : 1 + row + rows, 1 + column : 1 + column + columns]
        present = ~np.isnan(part)
        total[present] += part[present]
        known += present
    return total, known


def _reached_from_border(missing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    rows, columns = missing.shape
    reached = np.zeros_like(missing)
    pending = [
        (row, column)
        for row in range(rows)
        for column in (range(columns) if row in (0, rows - 1) else (0, columns - 1))
        if missing[row, column]
    ]
    while pending:
        row, column = pending.pop()
        if reached[row, column]:
            continue
        reached[row, column] = True
        for row_step, column_step in STEPS:
            next_row, next_column = row + row_step, column + column_step
            if 0 <= next_row < rows and 0 <= next_column < columns and missing[next_row, next_column]:
                pending.append((next_row, next_column))
    return reached

"""What covers the sample landscape and what lies under it: land cover classes and soil map units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wepppy.sample_data.landscape import smooth_noise
from wepppy.terrain.flow import Floats, accumulate, fill_depressions, flow_direction, upstream_first
from wepppy.terrain.landcover import Soil
from wepppy.terrain.surface import slope_and_aspect

# Erodibility of textures: USDA Agriculture Handbook 703 nomograph values, converted to SI units.
SOILS = (
    Soil(2_390_101, "silt loam on loess hills", "B", 0.050),
    Soil(2_390_102, "gravelly loam on mountain slopes", "B", 0.028),
    Soil(2_390_103, "ashy silt loam under forest", "A", 0.034),
    Soil(2_390_104, "clay loam on footslopes", "C", 0.041),
    Soil(2_390_105, "silty clay on valley floors", "D", 0.037),
)


def cover_and_soils(
    rng: np.random.Generator, elevation: Floats, cell_size: float
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return land cover codes and soil keys that follow height, slope, aspect and wetness, as they do in nature."""
    size = elevation.shape[0]
    filled = fill_depressions(elevation)
    downstream, _ = flow_direction(filled)
    wetness = accumulate(downstream, upstream_first(filled)).reshape(elevation.shape)
    slope, aspect = slope_and_aspect(elevation, cell_size)
    steep, facing = np.nan_to_num(slope, nan=0.2), np.nan_to_num(aspect)
    height = (elevation - elevation.min()) / np.ptp(elevation)
    patches, stands, seams = (smooth_noise(rng, size, waves) for waves in (6, 12, 8))
    sunny = np.cos(np.radians(facing - 200.0))

    forest = height + 0.07 * patches - 0.06 * sunny > 0.36
    cover = np.where(forest, 42, np.where(sunny + 0.5 * patches > 0.4, 71, 52))
    cover = np.where(forest & (stands > 1.3), 41, cover)
    low = ~forest & (height + 0.05 * patches < 0.24)
    cover = np.where(low & (steep < 0.32), 81, cover)
    cover = np.where(low & (steep < 0.24) & (stands > -0.4), 82, cover)
    cover = np.where(low & (stands > 2.2), 21, cover)
    cover = np.where((steep > 0.85) & (seams > 0.3), 31, cover)
    cover = np.where((wetness > 1500) & (steep < 0.3), 90, cover)
    cover = np.where((wetness > 60_000) & (steep < 0.06), 11, cover)

    loess, mountain, ash, footslope, floor = (soil.key for soil in SOILS)
    soils = np.where(forest, np.where(height + 0.05 * seams > 0.58, ash, mountain), loess)
    soils = np.where((steep > 0.75), mountain, soils)
    soils = np.where(~forest & (seams > 0.8), footslope, soils)
    soils = np.where((wetness > 800) & (steep < 0.25), floor, soils)
    return cover.astype(np.uint8), soils.astype(np.int32)

"""Soil loss by the modified universal soil loss equation, driven by the runoff that was computed, in SI units."""

from __future__ import annotations

import numpy as np

from wepppy.terrain.flow import Floats

LONGEST_SLOPE = (
    122.0  # m: 400 feet, beyond which overland flow has gathered (Agriculture Handbook 703, chapter 4)
)
_UNIT_PLOT_LENGTH = 22.13  # m
_US_ERODIBILITY = (
    0.1317  # t ha h / (ha MJ mm) per US unit of K: Foster et al. (1981), J. of Soil and Water Cons. 36
)


def length_slope_factor(
    slope: Floats, aspect: Floats, inflow_area: Floats, cell_size: float, longest_slope: float = LONGEST_SLOPE
) -> Floats:
    """Return LS of every cell (dimensionless, NaN where an input is).

    `slope` is a tangent, `aspect` degrees from north (NaN on level ground counts as north), `inflow_area` the m2 that
    drain into the cell from above; it is cut to that of a strip which ends `longest_slope` metres from its top.
    Length: Desmet & Govers (1996), Journal of Soil and Water Conservation 51; its exponent and the steepness: Renard
    et al. (1997), USDA Agriculture Handbook 703.
    """
    sine = slope / np.sqrt(1 + slope**2)
    rill_to_interrill = (sine / 0.0896) / (3 * sine**0.8 + 0.56)
    exponent = rill_to_interrill / (1 + rill_to_interrill)
    direction = np.radians(np.where(np.isnan(aspect), 0.0, aspect))
    width_ratio = np.abs(np.sin(direction)) + np.abs(np.cos(direction))
    inflow = np.minimum(inflow_area, max(longest_slope - cell_size, 0.0) * cell_size)
    length = ((inflow + cell_size**2) ** (exponent + 1) - inflow ** (exponent + 1)) / (
        cell_size ** (exponent + 2) * width_ratio**exponent * _UNIT_PLOT_LENGTH**exponent
    )
    steepness = np.where(slope < 0.09, 10.8 * sine + 0.03, 16.8 * sine - 0.5)
    factor: Floats = length * steepness
    return factor


def event_soil_loss(runoff: Floats, area: Floats, peak: Floats, factors: Floats) -> Floats:
    """Return t of soil that a day's direct runoff carries off the land to the channel.

    `runoff` is mm from `area` m2, `peak` m3/s, `factors` the product K LS C P with K in t ha h / (ha MJ mm).
    Source: Williams (1975), Sediment-yield prediction with universal equation using runoff energy factor, USDA
    ARS-S-40: Y = 11.8 (V qp)^0.56 K LS C P, V in m3 and K in US units.
    """
    volume = runoff / 1000.0 * area
    loss: Floats = 11.8 * (volume * peak) ** 0.56 * factors / _US_ERODIBILITY
    return loss

"""Soil loss by the revised universal soil loss equation, A = R K LS C P, in SI units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wepppy.terrain.flow import Floats

_UNIT_PLOT_LENGTH = 22.13  # m


def rainfall_erosivity(monthly: Floats) -> float:
    """Return R in MJ mm / (ha h yr) from twelve monthly sums of precipitation in millimetres.

    Source: Renard & Freimund (1994), Journal of Hydrology 157, from the modified Fournier index sum(p^2) / sum(p).
    Raises ValueError unless there are twelve values that are not negative.
    """
    rain = np.asarray(monthly, dtype=np.float64)
    if rain.shape != (12,) or not np.all(rain >= 0):
        raise ValueError("twelve monthly sums of precipitation are needed, none of them negative")
    total = float(rain.sum())
    if total == 0:
        return 0.0
    fournier = float((rain**2).sum()) / total
    if fournier < 55:
        return float(0.07397 * fournier**1.847)
    return 95.77 - 6.081 * fournier + 0.4770 * fournier**2


def length_slope_factor(
    slope: Floats, aspect: Floats, inflow_area: Floats, cell_size: float, longest_slope: float = 300.0
) -> Floats:
    """Return LS of every cell (dimensionless, NaN where an input is).

    `slope` is a tangent, `aspect` degrees from north (NaN on level ground counts as north), `inflow_area` the m2 that
    drain into the cell from above. Overland flow gathers in rills after a few hundred metres, so the inflow is cut to
    that of a strip `longest_slope` metres long. Length: Desmet & Govers (1996), Journal of Soil and Water Conservation
    51; its exponent and the steepness: Renard et al. (1997), USDA Agriculture Handbook 703.
    """
    sine = slope / np.sqrt(1 + slope**2)
    rill_to_interrill = (sine / 0.0896) / (3 * sine**0.8 + 0.56)
    exponent = rill_to_interrill / (1 + rill_to_interrill)
    direction = np.radians(np.where(np.isnan(aspect), 0.0, aspect))
    width_ratio = np.abs(np.sin(direction)) + np.abs(np.cos(direction))
    inflow = np.minimum(inflow_area, longest_slope * cell_size)
    length = ((inflow + cell_size**2) ** (exponent + 1) - inflow ** (exponent + 1)) / (
        cell_size ** (exponent + 2) * width_ratio**exponent * _UNIT_PLOT_LENGTH**exponent
    )
    steepness = np.where(slope < 0.09, 10.8 * sine + 0.03, 16.8 * sine - 0.5)
    factor: Floats = length * steepness
    return factor


def soil_loss(
    erosivity: float, erodibility: Floats, length_slope: Floats, cover: Floats, practice: float = 1.0
) -> NDArray[np.float64]:
    """Return t / (ha yr) for each cell: the product of the equation's factors."""
    return erosivity * erodibility * length_slope * cover * practice

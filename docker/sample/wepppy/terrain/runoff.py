"""Direct runoff of a day by the curve number method, and the peak that it makes."""

from __future__ import annotations

import numpy as np

from wepppy.terrain.flow import Floats

INITIAL_ABSTRACTION = 0.2  # of the potential retention, as the tabulated curve numbers assume
STORM_HOURS = 6.0  # duration of a day's excess rain: an assumption of the sample, daily data do not hold it
_FEET_PER_METRE = 3.28084


def retention(curve_number: Floats) -> Floats:
    """Return the potential retention S in mm for curve numbers above 0 and at most 100.

    Source: USDA NRCS, National Engineering Handbook (NEH) part 630, chapter 10 (2004): S = 25400 / CN - 254.
    """
    return 25400.0 / curve_number - 254.0


def direct_runoff(water: Floats, potential_retention: Floats) -> Floats:
    """Return mm of direct runoff for mm of rain and snowmelt in a day.

    Source: NEH 630 chapter 10 (2004): Q = (P - Ia)^2 / (P - Ia + S), Ia = 0.2 S.
    """
    excess = np.maximum(water - INITIAL_ABSTRACTION * potential_retention, 0.0)
    whole = excess + potential_retention
    runoff: Floats = np.divide(excess**2, whole, out=np.array(excess), where=whole > 0)
    return runoff


def time_of_concentration(area: Floats, slope: Floats, curve_number: Floats) -> Floats:
    """Return hours for areas in m2, mean slopes in m/m and mean curve numbers.

    Source: NEH 630 chapter 15 (2010): flow length l = 209 a^0.6 (feet, acres), lag
    L = l^0.8 (S' + 1)^0.7 / (1900 Y^0.5) with S' = 1000 / CN - 10 inches and Y in percent, Tc = L / 0.6.
    Curve numbers are cut to the 50 to 95 for which the lag equation was made, slopes to at least 0.1 percent.
    """
    acres = area * _FEET_PER_METRE**2 / 43_560.0
    length = 209.0 * acres**0.6
    storage = 1000.0 / np.clip(curve_number, 50.0, 95.0) - 10.0
    percent = np.maximum(slope * 100.0, 0.1)
    lag = length**0.8 * (storage + 1.0) ** 0.7 / (1900.0 * np.sqrt(percent))
    hours: Floats = lag / 0.6
    return hours


def peak_discharge(runoff: Floats, area: Floats, concentration: Floats) -> Floats:
    """Return m3/s at the peak of the triangular unit hydrograph for mm of direct runoff from m2 of land.

    `concentration` is the time of concentration in hours; the excess rain falls within STORM_HOURS. Source: NEH 630
    chapter 16 (2007): qp = 0.208 A Q / Tp with A in km2, Q in mm, Tp = D / 2 + 0.6 Tc in hours.
    """
    to_peak = STORM_HOURS / 2.0 + 0.6 * concentration
    peak: Floats = 0.208 * (area / 1e6) * runoff / to_peak
    return peak

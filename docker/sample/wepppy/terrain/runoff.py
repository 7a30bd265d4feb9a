"""Runoff from rain by the curve number method."""

from __future__ import annotations

import numpy as np

from wepppy.terrain.flow import Floats

INITIAL_ABSTRACTION = 0.2  # of the potential retention, as the tabulated curve numbers assume


def daily_runoff(rain: Floats, curve_number: float) -> Floats:
    """Return millimetres of direct runoff for millimetres of rain per day.

    `curve_number` is above 0 and at most 100, else ValueError. Source: USDA NRCS, National Engineering Handbook part
    630, chapter 10 (2004): Q = (P - Ia)^2 / (P - Ia + S), S = 25400 / CN - 254 mm, Ia = 0.2 S.
    """
    if not 0 < curve_number <= 100:
        raise ValueError(f"a curve number lies above 0 and at most at 100, not at {curve_number}")
    retention = 25400.0 / curve_number - 254.0
    excess = np.maximum(np.asarray(rain, dtype=np.float64) - INITIAL_ABSTRACTION * retention, 0.0)
    whole = excess + retention
    runoff: Floats = np.divide(excess**2, whole, out=np.zeros_like(excess), where=whole > 0)
    return runoff

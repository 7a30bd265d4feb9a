"""In place of the compiled library: the soil loss of a hillslope."""

from __future__ import annotations

ERODIBILITY = 0.0021  # kg s/m4


def hillslope_loss(slope: float, runoff_mm: float) -> float:
    """Return the soil loss in kg/m2 of a hillslope with a mean slope (rise over run) for a runoff."""
    return ERODIBILITY * slope * runoff_mm

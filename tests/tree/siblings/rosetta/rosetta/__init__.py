"""Hydraulic properties of a soil from its texture."""

from __future__ import annotations


def saturated_conductivity(sand: float, silt: float, clay: float) -> float:
    """Return mm/h for shares of sand, silt and clay; raise ValueError when they are not 100 percent."""
    if abs(sand + silt + clay - 100) > 0.01:
        raise ValueError(f"{sand} + {silt} + {clay} is not 100 percent")
    return 0.25 * sand + 0.08 * silt + 0.01 * clay

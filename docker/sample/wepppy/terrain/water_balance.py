"""Where each day's precipitation goes: snow, soil, evapotranspiration, direct runoff, groundwater, baseflow.

"SWAT" stands for Neitsch, Arnold, Kiniry & Williams (2011), Soil and Water Assessment Tool, Theoretical Documentation
2009, Texas Water Resources Institute TR-406; its equations are named by number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wepppy.terrain.flow import Floats
from wepppy.terrain.runoff import direct_runoff, retention

SNOW_BELOW = 1.0  # degrees C of the day's mean: SWAT, default of SFTMP
MELT_RATE = 2.74  # mm per degree-day above 0 degrees C: NEH 630 chapter 11 (2004)
STRESS_AT = (
    0.5  # share of the available water below which plants slow down: Allen et al. (1998), FAO 56, table 22
)
RECESSION = 0.97  # share of the groundwater left after a day: within Nathan & McMahon (1990), 0.93 to 0.995
_SOLAR_CONSTANT = 0.0820  # MJ / (m2 min)
_LATENT_HEAT = 2.45  # MJ / kg


@dataclass(frozen=True)
class Ground:
    """The input of the balance for each unit of land, arrays [unit]; depths in mm of water in the root zone."""

    curve_number: Floats  # of average moisture
    available: Floats  # held between the wilting point and field capacity
    drainable: Floats  # held between field capacity and saturation
    conductivity: Floats  # mm / h, saturated


@dataclass(frozen=True)
class Balance:
    """A year of water in mm: precipitation = direct + baseflow + evapotranspiration + storage change."""

    direct: Floats  # [unit, day]
    baseflow: Floats  # [unit, day]
    evapotranspiration: Floats  # [unit, day]
    storage_change: Floats  # [unit], snow, soil and groundwater over the year


def extraterrestrial_radiation(latitude: Floats, day_of_year: Floats) -> Floats:
    """Return MJ / (m2 d) above the atmosphere for degrees of latitude (shapes broadcast).

    Source: Allen, Pereira, Raes & Smith (1998), FAO Irrigation and Drainage Paper 56, equations 21 to 25.
    """
    phi = np.radians(latitude)
    angle = 2 * np.pi * np.asarray(day_of_year) / 365.0
    distance = 1 + 0.033 * np.cos(angle)
    declination = 0.409 * np.sin(angle - 1.39)
    sunset = np.arccos(np.clip(-np.tan(phi) * np.tan(declination), -1.0, 1.0))
    height = sunset * np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.sin(sunset)
    radiation: Floats = 24 * 60 / np.pi * _SOLAR_CONSTANT * distance * height
    return radiation


def potential_evapotranspiration(lowest: Floats, highest: Floats, radiation: Floats) -> Floats:
    """Return mm per day from the day's lowest and highest temperature (degrees C) and extraterrestrial radiation.

    Source: Hargreaves & Samani (1985), Applied Engineering in Agriculture 1: 0.0023 Ra (T + 17.8) (Tmax - Tmin)^0.5,
    Ra as mm of evaporated water (FAO 56, equation 52).
    """
    mean = (lowest + highest) / 2
    spread = np.sqrt(np.maximum(highest - lowest, 0.0))
    potential: Floats = np.maximum(0.0023 * radiation / _LATENT_HEAT * (mean + 17.8) * spread, 0.0)
    return potential


class MoistureRetention:
    """The retention of each unit by its soil water, from dry (curve number I) over wet (III) to saturated.

    Source: SWAT equations 2:1.1.4 to 2:1.1.8.
    """

    def __init__(self, ground: Ground) -> None:
        number = np.asarray(ground.curve_number, dtype=np.float64)
        dryness = 100.0 - number
        dry = number - 20 * dryness / (dryness + np.exp(2.533 - 0.0636 * dryness))
        wet = np.minimum(number * np.exp(0.00673 * dryness), 100.0)
        self._largest = retention(dry)
        self._open = (
            self._largest > 2.54
        )  # the rest, open water for one, holds nothing back whatever its state
        largest = np.where(self._open, self._largest, 100.0)
        at_capacity = np.where(self._open, retention(wet), 50.0)
        capacity, saturation = ground.available, ground.available + ground.drainable
        upper = np.log(capacity / (1 - at_capacity / largest) - capacity)
        lower = np.log(saturation / (1 - 2.54 / largest) - saturation)
        self._second = (upper - lower) / (saturation - capacity)
        self._first = upper + self._second * capacity

    def __call__(self, soil_water: Floats) -> Floats:
        """Return mm of potential retention for mm of soil water above the wilting point."""
        held = soil_water + np.exp(self._first - self._second * soil_water)
        changing: Floats = self._largest * (1 - soil_water / held)
        return np.where(self._open, changing, self._largest)


def water_balance(ground: Ground, precipitation: Floats, mean: Floats, potential: Floats) -> Balance:
    """Follow the water of every unit through one year of days.

    `precipitation` (mm), `mean` (temperature, degrees C) and `potential` (evapotranspiration, mm) are [unit, day].
    The year is computed twice: the first pass finds the state in which it begins.
    Snow falls and melts by temperature, what melts and rains runs off by the curve number of the soil's moisture, the
    rest fills the soil. Plants take water from it at the potential rate until half of the available water is gone and
    linearly less below (FAO 56, equation 84); water above field capacity drains to the groundwater (SWAT 2:3.2.3 and
    2:3.2.4), which leaves as baseflow by a linear reservoir; what the soil cannot hold runs off.
    """
    units, days = precipitation.shape
    saturation = ground.available + ground.drainable
    drained = 1 - np.exp(-24.0 * ground.conductivity / ground.drainable)
    retention_now = MoistureRetention(ground)
    # A day's values lie side by side: thrice as fast as with a stride of a year.
    snows = np.ascontiguousarray((mean <= SNOW_BELOW).T)
    falls = np.ascontiguousarray(precipitation.T)
    may_melt = np.ascontiguousarray(MELT_RATE * np.maximum(mean.T, 0.0))
    # Of land that lets nothing in nothing evaporates either: the curve number 100 stands for open water.
    wanted = np.ascontiguousarray(np.where(ground.curve_number >= 100, 0.0, potential.T))
    snow, soil, groundwater = np.zeros(units), ground.available / 2, np.zeros(units)
    direct, baseflow, evaporated = (np.zeros((days, units)) for _ in range(3))
    stored = np.zeros(units)
    for _ in range(2):
        stored = snow + soil + groundwater
        for day in range(days):
            snow = snow + np.where(snows[day], falls[day], 0.0)
            melt = np.minimum(snow, may_melt[day])
            snow = snow - melt
            water = melt + np.where(snows[day], 0.0, falls[day])
            runoff = direct_runoff(water, retention_now(soil))
            soil = soil + water - runoff
            surplus = np.maximum(soil - saturation, 0.0)
            soil = soil - surplus
            percolation = np.maximum(soil - ground.available, 0.0) * drained
            soil = soil - percolation
            stress = np.minimum(soil / (STRESS_AT * ground.available), 1.0)
            taken = np.minimum(wanted[day] * stress, soil)
            soil = soil - taken
            groundwater = groundwater + percolation
            leaves = (1 - RECESSION) * groundwater
            groundwater = groundwater - leaves
            direct[day], baseflow[day], evaporated[day] = runoff + surplus, leaves, taken
    return Balance(direct.T, baseflow.T, evaporated.T, snow + soil + groundwater - stored)

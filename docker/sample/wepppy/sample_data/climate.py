"""The weather over the sample landscape: twelve monthly means per variable, and one year day by day."""

from __future__ import annotations

import calendar
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from wepppy.sample_data import YEAR
from wepppy.sample_data.landscape import smooth_noise
from wepppy.terrain.flow import Floats

VARIABLES = {
    "ppt": ("mm", "precipitation"),
    "tmin": ("degrees C", "daily minimum air temperature"),
    "tmax": ("degrees C", "daily maximum air temperature"),
}
FILL = -9999.0

# A dry-summer mountain climate like northern Idaho's, at 1000 m above sea level.
_YEARLY_RAIN = 720.0  # mm
_RAIN_SHARES = np.array([12.5, 10.0, 10.0, 8.5, 8.5, 7.5, 3.5, 3.0, 4.5, 8.0, 12.5, 11.5]) / 100
_WET_DAYS = (0.48, 0.44, 0.43, 0.38, 0.34, 0.30, 0.15, 0.13, 0.18, 0.30, 0.46, 0.49)
_MEAN_TEMPERATURE = np.array([-2.5, -0.5, 2.8, 6.4, 10.9, 14.3, 19.0, 18.6, 13.6, 7.2, 1.2, -2.8])
_DAILY_RANGE = np.array([6.5, 8.0, 9.5, 11.5, 13.0, 14.0, 17.5, 17.5, 15.5, 11.0, 7.5, 6.0])


def monthly_means(rng: np.random.Generator, elevation: Floats) -> dict[str, Floats]:
    """Return [month, row, column] long-term means: wetter and cooler with height, with gentle local variation."""
    rows, columns = elevation.shape
    local = smooth_noise(rng, max(rows, columns), 4)[:rows, :columns]
    height = (elevation - 1000.0) / 1000.0
    rain = _YEARLY_RAIN * (1 + 0.55 * height + 0.04 * local)
    mean = _MEAN_TEMPERATURE[:, None, None] - 5.6 * height + 0.3 * local
    spread = _DAILY_RANGE[:, None, None] * (1 - 0.12 * height) / 2
    return {
        "ppt": np.maximum(_RAIN_SHARES[:, None, None] * rain, 0.0),
        "tmin": mean - spread,
        "tmax": mean + spread,
    }


def daily_weather(rng: np.random.Generator, monthly: dict[str, Floats]) -> dict[str, NDArray[np.float32]]:
    """Return [day, row, column] weather of one year: rain comes in spells, temperature wanders around its month.

    A month's rain sums to its mean times a random factor of that month, so daily and monthly data agree.
    """
    months = np.repeat(range(12), [calendar.monthrange(YEAR, month)[1] for month in range(1, 13)])
    shares, wander = np.zeros(months.size), np.zeros(months.size)
    wet = False
    for day, month in enumerate(months):
        wet = bool(rng.random() < _WET_DAYS[month] + (0.18 if wet else -0.09))
        amount = rng.gamma(0.75) + 0.05  # drawn on dry days too, so each day's weather is its own
        shares[day] = amount if wet else 0.0
        wander[day] = 0.75 * wander[day - 1] + rng.normal(scale=2.0)
    for month in range(12):
        of_month = months == month
        if not shares[of_month].any():
            shares[np.flatnonzero(of_month)[0]] = 1.0
        shares[of_month] *= rng.uniform(0.7, 1.3) / shares[of_month].sum()
    daily = {
        "ppt": shares[:, None, None] * monthly["ppt"][months],
        "tmin": monthly["tmin"][months] + (wander + (shares > 0))[:, None, None],
        "tmax": monthly["tmax"][months] + (wander - 2.0 * (shares > 0))[:, None, None],
    }
    return {name: values.astype(np.float32) for name, values in daily.items()}


def write_daily(path: Path, name: str, values: NDArray[np.float32], transform: Affine) -> None:
    """Write one variable, [day, row, column] of a grid in degrees, as NetCDF 4 that follows the CF conventions 1.8."""
    import netCDF4

    units, long_name = VARIABLES[name]
    days, rows, columns = (np.arange(size, dtype=np.float64) for size in values.shape)
    axes = {
        "time": (days, {"units": f"days since {YEAR}-01-01 00:00:00", "calendar": "standard"}),
        "lat": (transform.f + transform.e * (rows + 0.5), {"units": "degrees_north"}),
        "lon": (transform.c + transform.a * (columns + 0.5), {"units": "degrees_east"}),
    }
    with netCDF4.Dataset(path, "w", format="NETCDF4_CLASSIC") as dataset:
        dataset.setncatts({"Conventions": "CF-1.8", "title": f"Synthetic {long_name}, {YEAR}"})
        for (axis, (positions, attributes)), standard in zip(
            axes.items(), ("time", "latitude", "longitude"), strict=True
        ):
            dataset.createDimension(axis, positions.size)
            variable = dataset.createVariable(axis, "f8", (axis,))
            variable.setncatts({**attributes, "standard_name": standard})
            variable[:] = positions
        dataset.createVariable("crs", "i4").setncatts(
            {
                "grid_mapping_name": "latitude_longitude",
                "semi_major_axis": 6378137.0,
                "inverse_flattening": 298.257223563,
            }
        )
        data = dataset.createVariable(
            name, "f4", tuple(axes), compression="zlib", complevel=4, fill_value=np.float32(FILL)
        )
        data.setncatts({"units": units, "long_name": long_name, "grid_mapping": "crs"})
        data[:] = values

"""The climate of each subcatchment: one year day by day, from the grid cell at its centre."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np

from wepppy.rq.steps.outputs import write_table
from wepppy.rq.steps.state import RunError, RunState
from wepppy.terrain.flow import Floats

SOURCE = "daymet/daily"
VARIABLES = ("ppt", "tmin", "tmax")


def build_climate(state: RunState) -> None:
    """Read the newest year of daily NetCDF, and write the watershed's means."""
    years = sorted((state.geodata / SOURCE).glob("[0-9][0-9][0-9][0-9]"))
    if not years:
        raise RunError("there is no daily climate; the sample data has not been made yet")
    daily = {name: _daily(state, years[-1] / f"{name}.nc", name) for name in VARIABLES}
    state.precipitation, state.lowest, state.highest = daily.values()
    year, weights = int(years[-1].name), state.areas / state.areas.sum()
    first, days = date(year, 1, 1), state.precipitation.shape[1]
    state.dates = [(first + timedelta(days=day)).isoformat() for day in range(days)]
    means = {name: weights @ values for name, values in daily.items()}
    write_table(state.folder / "climate/daily", {"date": state.dates, **means})
    rain = float(means["ppt"].sum())
    state.summary["climate"] = {
        "year": year,
        "precipitation_of_the_year_mm": rain,
        "mean_temperature_c": float((means["tmin"] + means["tmax"]).mean() / 2),
    }
    state.progress(f"build_climate: {rain:.0f} mm in {year}")


def _daily(state: RunState, path: Path, name: str) -> Floats:
    """Return [subcatchment, day] of one variable."""
    import netCDF4

    if not path.exists():
        raise RunError("there is no daily climate; the sample data has not been made yet")
    with netCDF4.Dataset(path) as dataset:
        nearest = []
        for axis, places in (("lat", state.latitudes), ("lon", state.longitudes)):
            centres = dataset[axis][:].data
            distances = np.abs(centres[:, None] - places[None, :])
            if distances.min(axis=0).max() > np.abs(np.diff(centres)).max():
                raise RunError("the climate data does not cover the watershed")
            nearest.append(distances.argmin(axis=0))
        block = dataset[name][:].astype(np.float64).filled(np.nan)
    found: Floats = block[:, nearest[0], nearest[1]].T
    if np.isnan(found).any():
        raise RunError("the daily climate has gaps within the watershed")
    return found

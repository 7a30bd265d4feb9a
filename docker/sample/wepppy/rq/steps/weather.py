"""The climate of each subcatchment: monthly means and one year day by day, from the grid cell at its centre."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import rasterio
from rasterio.warp import transform as transform_points

from wepppy.rq.steps.outputs import write_table
from wepppy.rq.steps.state import RunError, RunState
from wepppy.terrain.flow import Floats

VARIABLES = ("ppt", "tmin", "tmax")


def build_climate(state: RunState) -> None:
    """Read monthly rasters and the newest year of daily NetCDF, and write the watershed's means."""
    weights = state.areas / state.areas.sum()
    monthly = {name: _monthly(state, name) for name in VARIABLES}
    daily_folder = _newest_year(state.geodata / "daymet/daily")
    daily = {name: _daily(state, daily_folder / f"{name}.nc", name) for name in VARIABLES}
    state.precipitation, state.lowest, state.highest = (daily[name] for name in VARIABLES)
    first = date(int(daily_folder.name), 1, 1)
    state.dates = [(first + timedelta(days=day)).isoformat() for day in range(state.precipitation.shape[1])]
    write_table(
        state.folder / "climate/monthly",
        {"month": list(range(1, 13)), **{name: weights @ values for name, values in monthly.items()}},
    )
    write_table(
        state.folder / "climate/daily",
        {"date": state.dates, **{name: weights @ values for name, values in daily.items()}},
    )
    yearly = float((weights @ monthly["ppt"]).sum())
    measured = float((weights @ daily["ppt"]).sum())
    state.summary["climate"] = {
        "mean_yearly_precipitation_mm": round(yearly, 1),
        "year": int(daily_folder.name),
        "precipitation_of_the_year_mm": round(measured, 1),
        "mean_temperature_c": round(float(np.mean(weights @ (monthly["tmin"] + monthly["tmax"]) / 2)), 2),
    }
    state.progress(f"build_climate: {yearly:.0f} mm in a mean year, {measured:.0f} mm in {daily_folder.name}")


def _monthly(state: RunState, name: str) -> Floats:
    path = state.geodata / f"daymet/monthly/{name}/.vrt"
    if not path.exists():
        raise RunError("there is no climate data; the sample data has not been made yet")
    with rasterio.open(path) as source:
        if source.count != 12:
            raise RunError(f"the monthly climate of {name} has {source.count} months")
        x, y = transform_points("EPSG:4326", source.crs, state.longitudes, state.latitudes)
        columns, rows = ~source.transform @ (np.asarray(x), np.asarray(y))
        bands = source.read(masked=True)
        values = np.ma.filled(bands.astype(np.float64), np.nan)
    rows, columns = np.floor(rows).astype(int), np.floor(columns).astype(int)
    if (
        rows.min() < 0
        or columns.min() < 0
        or rows.max() >= values.shape[1]
        or columns.max() >= values.shape[2]
    ):
        raise RunError("the climate data does not cover the watershed")
    found: Floats = values[:, rows, columns].T
    if np.isnan(found).any():
        raise RunError("the climate data has gaps within the watershed")
    return found


def _daily(state: RunState, path: Path, name: str) -> Floats:
    import netCDF4

    if not path.exists():
        raise RunError("there is no daily climate; the sample data has not been made yet")
    with netCDF4.Dataset(path) as dataset:
        latitudes, longitudes = dataset["lat"][:].data, dataset["lon"][:].data
        rows = np.abs(latitudes[:, None] - state.latitudes[None, :]).argmin(axis=0)
        columns = np.abs(longitudes[:, None] - state.longitudes[None, :]).argmin(axis=0)
        block = np.ma.filled(dataset[name][:].astype(np.float64), np.nan)
    found: Floats = block[:, rows, columns].T
    if np.isnan(found).any():
        raise RunError("the daily climate has gaps within the watershed")
    return found


def _newest_year(folder: Path) -> Path:
    years = sorted(entry for entry in folder.glob("[0-9][0-9][0-9][0-9]") if entry.is_dir())
    if not years:
        raise RunError("there is no daily climate; the sample data has not been made yet")
    return years[-1]

"""Questions to the climate service, and the small climate they are about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from affine import Affine
from flask.testing import FlaskClient
from numpy.typing import NDArray
from rasters import NODATA, strict_json, write_raster, write_vrt

STEP, WEST, NORTH, COLUMNS, ROWS = 0.01, -117.0, 47.0, 24, 18
DEGREES = Affine(STEP, 0, WEST, 0, -STEP, NORTH)
MONTHLY = "daymet/monthly/ppt"
DAILY = "daymet/daily/ppt"
BOX = (-116.951, 46.899, -116.871, 46.952)

Answer = dict[str, Any]


def monthly_values() -> NDArray[np.float32]:
    """Twelve months with a hole in the middle and one near the corner."""
    rng = np.random.default_rng(4)
    values = rng.uniform(0, 200, size=(12, ROWS, COLUMNS)).astype(np.float32)
    values[:, 8:10, 11:14] = NODATA
    values[6, 1, 1] = NODATA
    return values


def write_year(path: Path, year: int, days: int) -> NDArray[np.float32]:
    """Write one year of one variable and return it, NaN without data."""
    rng = np.random.default_rng(year)
    values = rng.uniform(0, 30, size=(days, ROWS, COLUMNS)).astype(np.float32)
    values[:, 4, 5] = np.nan
    path.parent.mkdir(parents=True)
    with netCDF4.Dataset(path, "w") as dataset:
        for name, size in (("time", days), ("lat", ROWS), ("lon", COLUMNS)):
            dataset.createDimension(name, size)
            dataset.createVariable(name, "f8", (name,))
        dataset["time"].units = f"days since {year}-01-01"
        dataset["time"].calendar = "standard"
        dataset["time"][:] = np.arange(days)
        dataset["lat"][:] = NORTH - STEP * (np.arange(ROWS) + 0.5)
        dataset["lon"][:] = WEST + STEP * (np.arange(COLUMNS) + 0.5)
        dataset["lat"].units, dataset["lon"].units = "degrees_north", "degrees_east"
        data = dataset.createVariable("ppt", "f4", ("time", "lat", "lon"), fill_value=np.float32(NODATA))
        data.units = "mm"
        data[:] = np.ma.masked_invalid(values)
    return values


def make_climate(folder: Path) -> Path:
    """Write monthly precipitation, and daily of an ordinary and a leap year."""
    write_vrt(
        *(
            write_raster(folder / MONTHLY / f"{month + 1:02}.tif", values, DEGREES, "EPSG:4326")
            for month, values in enumerate(monthly_values())
        )
    )
    write_year(folder / "daymet/daily/2019/ppt.nc", 2019, 365)
    write_year(folder / "daymet/daily/2020/ppt.nc", 2020, 365)
    return folder


def ask(client: FlaskClient, path: str, **query: object) -> Answer:
    """Return the JSON of a question that must get status 200."""
    response = client.get(path, query_string=query)
    assert response.status_code == 200, response.data
    answer: Answer = strict_json(response.data)
    return answer


def points(count: int, seed: int) -> list[tuple[float, float]]:
    rng = np.random.default_rng(seed)
    return [
        (WEST + STEP * rng.uniform(0, COLUMNS), NORTH - STEP * rng.uniform(0, ROWS)) for _ in range(count)
    ]

"""Daily climate: years of NetCDF grids, cropped to a box or followed at one cell.

One file per variable and year, `<collection>/daily/<year>/<variable>.nc`, follows the CF conventions: a
variable of (time, y, x) with one-dimensional axes and a grid mapping.
"""

from __future__ import annotations

import calendar
import json
import math
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pyproj
from numpy.typing import NDArray
from pyproj.exceptions import ProjError

from wepppy.webservices.raster_crs import WGS84, CrsError, transformer
from wepppy.webservices.raster_grid import Bounds

MAX_VALUES = 50_000_000
# The HDF5 library inside is not made for several threads.
_lock = threading.Lock()


class SeriesError(Exception):
    """A question that this climate can't answer."""


class SeriesFileError(Exception):
    """A file that can't be read, or is not what it should be."""


@dataclass(frozen=True)
class _Grid:
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    crs: str

    def to_grid(self) -> pyproj.Transformer:
        return transformer(WGS84, self.crs)


def daily_at_point(paths: list[Path], variable: str, longitude: float, latitude: float) -> list[float | None]:
    """Return one value per day of the years that `paths` hold, of the cell that holds a point (degrees).

    A leap year that was written with 365 days, as Daymet does, has its last day repeated. Days without data
    are None. Raises SeriesError outside the grid, SeriesFileError.
    """
    days: list[float | None] = []
    for path in paths:
        with _lock, _open(path) as dataset:
            grid = _read_grid(dataset, variable)
            x, y = _point(grid, longitude, latitude)
            column, row = _nearest(grid.x, x), _nearest(grid.y, y)
            values = _floats(dataset.variables[variable][:, row, column])
            year = _year(dataset)
        if calendar.isleap(year) and len(values) == 365:
            values = np.append(values, values[-1])
        days.extend(float(value) if math.isfinite(value) else None for value in values)
    return days


def crop_daily(paths: list[Path], variable: str, box: Bounds) -> bytes:
    """Return a NetCDF file of the cells whose centres lie in a box (degrees), all years of `paths` in turn.

    Raises SeriesError if there are no such cells or too many, SeriesFileError.
    """
    parts: list[NDArray[Any]] = []
    times: list[NDArray[np.float64]] = []
    with _lock, _open(paths[0]) as first:
        grid = _read_grid(first, variable)
        columns, rows = _inside(grid, box)
        size = (columns.stop - columns.start) * (rows.stop - rows.start)
        if size * 366 * len(paths) > MAX_VALUES:
            raise SeriesError("bbox and years hold too many values; ask for less")
        units, calendar_name = first.variables["time"].units, _calendar(first)
        for path in paths:
            with _open(path) as dataset:
                other = _read_grid(dataset, variable)
                if not (np.array_equal(other.x, grid.x) and np.array_equal(other.y, grid.y)):
                    raise SeriesFileError("the years differ in their grids")
                source = dataset.variables[variable]
                source.set_auto_maskandscale(False)
                parts.append(source[:, rows, columns])
                moments = netCDF4.num2date(
                    dataset.variables["time"][:], dataset.variables["time"].units, _calendar(dataset)
                )
                times.append(np.asarray(netCDF4.date2num(moments, units, calendar_name), dtype=np.float64))
        return _write(first, variable, np.concatenate(times), np.concatenate(parts), rows, columns)


def _open(path: Path) -> netCDF4.Dataset:
    try:
        return netCDF4.Dataset(path)
    except OSError as error:
        raise SeriesFileError("the file can't be opened") from error


def _read_grid(dataset: netCDF4.Dataset, variable: str) -> _Grid:
    try:
        data = dataset.variables[variable]
        if data.dimensions[0] != "time" or len(data.dimensions) != 3:
            raise SeriesFileError("the variable is not one of time, y and x")
        y, x = (np.asarray(dataset.variables[name][:], dtype=np.float64) for name in data.dimensions[1:])
        if min(len(x), len(y)) < 2:
            raise SeriesFileError("the grid is too small")
        crs = WGS84
        if "grid_mapping" in data.ncattrs():
            mapping = dataset.variables[data.grid_mapping]
            attributes = {name: np.asarray(mapping.getncattr(name)).tolist() for name in mapping.ncattrs()}
            crs = _mapped_crs(json.dumps(attributes, sort_keys=True))
    except (KeyError, IndexError, OSError, RuntimeError, ProjError, CrsError) as error:
        raise SeriesFileError("the file is not a grid of days") from error
    return _Grid(x, y, crs)


@lru_cache(maxsize=16)
def _mapped_crs(attributes: str) -> str:
    """Return the WKT of a CF grid mapping. Finding its datum by name takes half a second: once is enough."""
    return str(pyproj.CRS.from_cf(json.loads(attributes)).to_wkt())


def _point(grid: _Grid, longitude: float, latitude: float) -> tuple[float, float]:
    x, y = grid.to_grid().transform(longitude, latitude)
    for axis, value in ((grid.x, x), (grid.y, y)):
        low, high = sorted((float(axis[0]), float(axis[-1])))
        half = (high - low) / (len(axis) - 1) / 2
        if not low - half <= value <= high + half:
            raise SeriesError("Location outside dataset extent")
    return float(x), float(y)


def _nearest(axis: NDArray[np.float64], value: float) -> int:
    return int(np.argmin(np.abs(axis - value)))


def _inside(grid: _Grid, box: Bounds) -> tuple[slice, slice]:
    try:
        left, bottom, right, top = grid.to_grid().transform_bounds(*box, densify_pts=21)
    except ProjError:
        raise SeriesError("bbox holds no cell of the dataset") from None
    columns = np.flatnonzero((grid.x >= left) & (grid.x <= right))
    rows = np.flatnonzero((grid.y >= bottom) & (grid.y <= top))
    if not (columns.size and rows.size):
        raise SeriesError("bbox holds no cell of the dataset")
    return slice(int(columns[0]), int(columns[-1]) + 1), slice(int(rows[0]), int(rows[-1]) + 1)


def _write(
    source: netCDF4.Dataset,
    variable: str,
    times: NDArray[np.float64],
    values: NDArray[Any],
    rows: slice,
    columns: slice,
) -> bytes:
    data = source.variables[variable]
    y, x = data.dimensions[1:]
    axes = {"time": times, y: source.variables[y][rows], x: source.variables[x][columns]}
    memory = netCDF4.Dataset("crop.nc", "w", format="NETCDF4", memory=values.nbytes + 65536)
    try:
        memory.setncatts({name: source.getncattr(name) for name in source.ncattrs()})
        for name, axis in axes.items():
            memory.createDimension(name, len(axis))
            _copy_attributes(source.variables[name], memory.createVariable(name, "f8", (name,)))
            memory.variables[name][:] = axis
        mapping = getattr(data, "grid_mapping", None)
        if mapping in source.variables:
            _copy_attributes(source.variables[mapping], memory.createVariable(mapping, "i4"))
        fill = data.getncattr("_FillValue") if "_FillValue" in data.ncattrs() else None
        made = memory.createVariable(
            variable, data.dtype, data.dimensions, compression="zlib", complevel=1, fill_value=fill
        )
        made.set_auto_maskandscale(False)
        _copy_attributes(data, made)
        made[:] = values
    finally:
        buffer = memory.close()
    return bytes(buffer)


def _copy_attributes(source: Any, target: Any) -> None:
    target.setncatts({name: source.getncattr(name) for name in source.ncattrs() if name != "_FillValue"})


def _floats(values: Any) -> NDArray[np.float64]:
    return np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)


def _year(dataset: netCDF4.Dataset) -> int:
    time = dataset.variables["time"]
    first: Any = netCDF4.num2date(time[0], time.units, _calendar(dataset))
    return int(first.year)


def _calendar(dataset: netCDF4.Dataset) -> str:
    return str(getattr(dataset.variables["time"], "calendar", "standard"))

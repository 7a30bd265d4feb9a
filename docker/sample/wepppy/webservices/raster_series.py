"""Climate from rasters with a band per month or day: at a point, or as a box cut out of years of NetCDF.

Days are in one file per variable and year, `<collection>/daily/<year>/<variable>.nc`, that follows the CF conventions:
a variable of (time, y, x) with one-dimensional axes and a grid mapping.
"""

from __future__ import annotations

import calendar
import math
import threading
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject
from rasterio.windows import Window

from wepppy.webservices.raster_crs import WGS84, CrsError, transform_point
from wepppy.webservices.raster_grid import Bounds, transform_box
from wepppy.webservices.refusals import Refusal

METHODS = ("nearest", "bilinear", "cubic")
MAX_VALUES = 50_000_000
# The HDF5 library inside is not made for several threads.
_lock = threading.Lock()


class SeriesFileError(Exception):
    """A file that can't be read, or is not what it should be."""


def values_at_point(
    source: rasterio.DatasetReader, longitude: float, latitude: float, method: str = "nearest"
) -> list[float | None]:
    """Return each band's value at a point (degrees), None where the cell that holds it has no data.

    Raises Refusal outside the raster.
    """
    try:
        column, row = ~source.transform @ transform_point(WGS84, _crs(source), longitude, latitude)
    except CrsError:
        column = row = math.inf
    if not (0 <= column < source.width and 0 <= row < source.height):
        raise Refusal("Location outside dataset extent")
    cell = Window(math.floor(column), math.floor(row), 1, 1)
    values = source.read(window=cell, masked=True)[:, 0, 0].astype(float).filled(np.nan)
    missing = ~np.isfinite(values)
    if method != "nearest":
        # One cell of the same size, centred at the point.
        values = np.full(source.count, np.nan)
        reproject(
            rasterio.band(source, list(source.indexes)),
            values.reshape(-1, 1, 1),
            dst_transform=source.transform @ Affine.translation(column - 0.5, row - 0.5),
            dst_crs=source.crs,
            dst_nodata=np.nan,
            resampling=Resampling[method],
        )
    return [None if gone else float(value) for value, gone in zip(values, missing, strict=True)]


def daily_at_point(
    files: dict[int, Path], variable: str, longitude: float, latitude: float
) -> list[float | None]:
    """Return one value per day of the years, of the cell that holds a point (degrees), None without data.

    A leap year that was written with 365 days, as Daymet does, has its last day repeated. Raises Refusal
    outside the grid, SeriesFileError.
    """
    days: list[float | None] = []
    for year, path in files.items():
        with _lock, _open_raster(path, variable) as source:
            values = values_at_point(source, longitude, latitude)
        days += values
        if calendar.isleap(year) and len(values) == 365:
            days.append(values[-1])
    return days


def crop_daily(files: dict[int, Path], variable: str, box: Bounds) -> bytes:
    """Return a NetCDF file of the cells whose centres lie in a box (degrees), all years in turn.

    Raises Refusal if there are no such cells or too many, SeriesFileError.
    """
    paths = list(files.values())
    parts: list[NDArray[Any]] = []
    times: list[NDArray[np.float64]] = []
    try:
        with _lock, _open_raster(paths[0], variable) as raster, netCDF4.Dataset(paths[0]) as first:
            axes = _axes(first, variable)
            rows, columns = _inside(axes, transform_box(WGS84, _crs(raster), box))
            size = (columns.stop - columns.start) * (rows.stop - rows.start)
            if size * 366 * len(paths) > MAX_VALUES:
                raise Refusal("bbox and years hold too many values; ask for less")
            time = first["time"]
            for path in paths:
                with netCDF4.Dataset(path) as dataset:
                    if not all(map(np.array_equal, axes, _axes(dataset, variable))):
                        raise SeriesFileError("the years differ in their grids")
                    source = dataset[variable]
                    source.set_auto_maskandscale(False)
                    parts.append(source[:, rows, columns])
                    moments = netCDF4.num2date(
                        dataset["time"][:], dataset["time"].units, _calendar(dataset["time"])
                    )
                    times.append(np.asarray(netCDF4.date2num(moments, time.units, _calendar(time))))
            return _write(first, variable, np.concatenate(times), np.concatenate(parts), rows, columns)
    except (OSError, KeyError, IndexError, RuntimeError, AttributeError) as error:
        raise SeriesFileError("the file is not a grid of days") from error


def _crs(source: rasterio.DatasetReader) -> str:
    return source.crs.to_wkt() if source.crs else WGS84


def _open_raster(path: Path, variable: str) -> rasterio.DatasetReader:
    try:
        raster = rasterio.open(f'netcdf:"{path}":{variable}')
    except RasterioError as error:
        raise SeriesFileError("the file can't be opened") from error
    if raster.transform.is_identity:
        raise SeriesFileError("the file does not say where its cells are")
    return raster


def _axes(dataset: netCDF4.Dataset, variable: str) -> tuple[NDArray[Any], NDArray[Any]]:
    _, y, x = dataset[variable].dimensions
    return dataset[y][:], dataset[x][:]


def _inside(axes: tuple[NDArray[Any], NDArray[Any]], box: Bounds | None) -> tuple[slice, slice]:
    y, x = axes
    left, bottom, right, top = box or (math.inf,) * 4
    rows, columns = np.flatnonzero((y >= bottom) & (y <= top)), np.flatnonzero((x >= left) & (x <= right))
    if not (rows.size and columns.size):
        raise Refusal("bbox holds no cell of the dataset")
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _write(
    source: netCDF4.Dataset,
    variable: str,
    times: NDArray[np.float64],
    values: NDArray[Any],
    rows: slice,
    columns: slice,
) -> bytes:
    data = source[variable]
    y, x = data.dimensions[1:]
    source.set_auto_maskandscale(False)  # copied as it is stored
    contents = {"time": times, y: source[y][rows], x: source[x][columns], variable: values}
    mapping = getattr(data, "grid_mapping", None)
    if mapping in source.variables:
        contents[mapping] = source[mapping][...]
    memory = netCDF4.Dataset("crop.nc", "w", format="NETCDF4", memory=values.nbytes + 65536)
    try:
        memory.setncatts(_attributes(source))
        for name, content in contents.items():
            if name in source[name].dimensions:
                memory.createDimension(name, len(content))
            fill = getattr(source[name], "_FillValue", None)
            made = memory.createVariable(
                name, content.dtype, source[name].dimensions, compression="zlib", complevel=1, fill_value=fill
            )
            made.set_auto_maskandscale(False)
            made.setncatts(_attributes(source[name]))
            made[...] = content
    finally:
        buffer = memory.close()
    return bytes(buffer)


def _attributes(item: Any) -> dict[str, Any]:
    return {name: item.getncattr(name) for name in item.ncattrs() if name != "_FillValue"}


def _calendar(time: Any) -> str:
    return str(getattr(time, "calendar", "standard"))

"""The elevation model of a run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

SIZE = 48  # cells each way
CELL = 0.0003  # degrees


def make_dem(folder: Path, lng: float, lat: float) -> Path:
    """Write a hill whose height follows from its place as `dem/dem.tif`; return the file."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    distance = np.hypot(rows - SIZE / 2, columns - SIZE / 2)
    height = 500 + 10 * abs(lat) + 200 * np.exp(-((distance / 18) ** 2)) + 5 * math.sin(math.radians(lng))
    file = folder / "dem" / "dem.tif"
    file.parent.mkdir(parents=True, exist_ok=True)
    corner = from_origin(lng - SIZE * CELL / 2, lat + SIZE * CELL / 2, CELL, CELL)
    with rasterio.open(
        file, "w", driver="GTiff", width=SIZE, height=SIZE, count=1, dtype="float32",
        crs="EPSG:4326", transform=corner, nodata=-9999.0,
    ) as raster:  # fmt: skip
        raster.write(height.astype("float32"), 1)
    return file


def read_dem(folder: Path) -> tuple[list[list[float]], float]:
    """Return the heights of a run's elevation model, row by row, and the size of a cell in metres."""
    with rasterio.open(folder / "dem" / "dem.tif") as raster:
        return raster.read(1).tolist(), raster.transform.a * 111_320

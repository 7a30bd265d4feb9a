"""Small rasters of known content for the geodata tests, and the outside tools that read them."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from conftest import find_program
from numpy.typing import NDArray

UTM = "EPSG:32611"
LEFT, TOP, CELL = 508_000.0, 5_191_000.0, 30.0
WIDTH, HEIGHT = 180, 140
NODATA = -9999.0

TRANSFORM = Affine(CELL, 0, LEFT, 0, -CELL, TOP)


def write_raster(
    path: Path,
    values: NDArray[Any],
    transform: Affine = TRANSFORM,
    crs: str | None = UTM,
    nodata: float | None = NODATA,
    palette: dict[int, tuple[int, int, int, int]] | None = None,
) -> Path:
    """Write [row, column] or [band, row, column] values as GeoTIFF."""
    values = values if values.ndim == 3 else values[np.newaxis]
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    shape = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(
        path, "w", driver="GTiff", crs=crs, transform=transform, nodata=nodata, **shape
    ) as dataset:
        dataset.write(values)
        if palette:
            dataset.write_colormap(1, palette)
    return path


def write_vrt(*sources: Path) -> Path:
    """Write `.vrt` beside the sources, one band each."""
    path = sources[0].parent / ".vrt"
    run("gdalbuildvrt", "-q", *(["-separate"] if len(sources) > 1 else []), str(path), *map(str, sources))
    return path


def elevations() -> NDArray[np.float32]:
    """Rough ground with a hole, a ragged border without data and one cell that is not a number."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    z: NDArray[np.float64] = (
        900 + 200 * np.sin(columns / 17) * np.cos(rows / 11) + rng.normal(scale=4, size=rows.shape)
    )
    z[60:66, 90:97] = NODATA
    z[:3, :50] = NODATA
    z[20, 30] = np.nan
    single: NDArray[np.float32] = z.astype(np.float32)
    return single


def run(program: str, *arguments: str, stdin: str = "") -> str:
    """Return the output of a program that must succeed."""
    command = [find_program(program), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


def values_at(path: str | Path, points: list[tuple[float, float]], *options: str) -> list[list[float]]:
    """Return what gdallocationinfo finds at each (x, y): one value per band, nothing outside the raster."""
    command = [find_program("gdallocationinfo"), "-xml", *options, str(path)]
    lines = "".join(f"{x!r} {y!r}\n" for x, y in points)
    # GDAL from 3.9 on ends with 1 when a point is outside, and has answered all the same.
    text = subprocess.run(command, input=lines, capture_output=True, text=True, check=False).stdout
    reports = text.split("</Report>")[:-1]
    assert len(reports) == len(points)
    return [[_value(band) for band in report.split("<BandReport")[1:]] for report in reports]


def _value(report: str) -> float:
    """Return the value in the report of one band; GDAL leaves it out where there is no data."""
    return float(report.partition("<Value>")[2].partition("</Value>")[0] or NODATA)


def strict_json(text: str | bytes) -> Any:
    """Return the value of a text that must be JSON as the standard has it, without NaN and Infinity."""

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    return json.loads(text, parse_constant=refuse)


async def write_end(fifo: Path) -> int:
    """Open a FIFO for writing as soon as the service opens it for reading."""
    async with asyncio.timeout(60):
        while True:
            try:
                return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:  # no reader yet
                    raise
            await asyncio.sleep(0.01)


async def completed(tasks: Sequence[asyncio.Task[Any]], count: int) -> list[Any]:
    """Return the results of the first `count` tasks that end; the others are still at work then."""
    async with asyncio.timeout(60):
        while len(ended := [task.result() for task in tasks if task.done()]) < count:
            await asyncio.sleep(0.01)
    return ended

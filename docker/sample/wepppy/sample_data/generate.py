"""Make the whole of the sample geodata in a folder beside its destination, then move it in and mark it complete."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio.shutil
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import array_bounds
from rasterio.warp import reproject, transform_bounds

from wepppy.geotiff import write_geotiff
from wepppy.sample_data import CELL_SIZE, EPSG, FORMAT, LEFT, MARKER, SIZE, TOP, YEAR
from wepppy.sample_data.climate import FILL, VARIABLES, daily_weather, monthly_means, write_daily
from wepppy.sample_data.ground import SOILS, cover_and_soils
from wepppy.sample_data.landscape import grow_landscape, smooth_noise
from wepppy.terrain.flow import Floats
from wepppy.terrain.landcover import COVERS

MONTHLY = tuple(f"daymet/monthly/{name}" for name in VARIABLES)
RASTERS = ("ned1/2016", "nlcd/2019", "ssurgo/2016", *MONTHLY)
DAILY = f"daymet/daily/{YEAR}"
CATALOG = "catalog.json"
MADE = (*RASTERS, DAILY, CATALOG)
PARTIAL = ".sample-data.partial"

_BORDER = 8  # cells without data around the landscape
_MARGIN = 16  # cells between a new run's extent and that border
_CLIMATE_STEP = 0.01  # degrees
_CRS, _DEGREES = CRS.from_epsg(EPSG), CRS.from_epsg(4326)


class ForeignDataError(Exception):
    """The destination holds data that this program did not make."""


def generate(geodata: Path, seed: int, progress: Callable[[str], None]) -> None:
    """Fill `geodata`; readers find each dataset either as it was or complete.

    The marker goes first and comes back last: whatever interrupts this, the next call starts anew. Raises
    ForeignDataError, having changed nothing, when a dataset is there that was not made here.
    """
    geodata.mkdir(parents=True, exist_ok=True)
    with (geodata / f"{PARTIAL}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second generator waits instead of mixing its files in
        marker, partial = geodata / MARKER, geodata / PARTIAL
        foreign = [name for name in MADE if (geodata / name).exists()]
        if foreign and not marker.exists() and not partial.exists():
            raise ForeignDataError(f"{geodata / foreign[0]} was not made by this program")
        shutil.rmtree(partial, ignore_errors=True)
        made, old = partial / "new", partial / "old"
        for folder in (*RASTERS, DAILY):
            (made / folder).mkdir(parents=True)
        old.mkdir()
        extent = _make(made, seed, progress)
        marker.unlink(missing_ok=True)
        for number, name in enumerate(MADE):
            target = geodata / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                target.rename(old / str(number))
            (made / name).rename(target)
        files = [path for name in (*RASTERS, DAILY) for path in sorted((geodata / name).iterdir())]
        sizes = {str(path.relative_to(geodata)): path.stat().st_size for path in [*files, geodata / CATALOG]}
        whole = partial / MARKER
        with whole.open("w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, "seed": seed, "run_extent": extent, "files": sizes}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        whole.replace(marker)
        shutil.rmtree(partial)


def _make(folder: Path, seed: int, progress: Callable[[str], None]) -> list[float]:
    """Fill the folder; return the extent of a new run in degrees."""
    # Each theme has a generator of its own, so that a change in one leaves the others as they were.
    terrain_rng, ground_rng, monthly_rng, daily_rng = (
        np.random.default_rng([seed, theme]) for theme in range(4)
    )
    transform = Affine.translation(LEFT, TOP) @ Affine.scale(CELL_SIZE, -CELL_SIZE)
    progress(f"growing a landscape of {SIZE} x {SIZE} cells from seed {seed}")
    elevation = grow_landscape(terrain_rng, SIZE, SIZE * CELL_SIZE, lowest=780.0, relief=900.0)
    progress("land cover and soils")
    cover, soils = cover_and_soils(ground_rng, elevation, CELL_SIZE)
    missing = _missing(terrain_rng)
    dem, landcover, soilmap, *monthly_maps = (
        folder / name / file
        for name, file in zip(
            RASTERS, ("dem.tif", "landcover.tif", "soils.tif", *["monthly.tif"] * 3), strict=True
        )
    )
    write_geotiff(
        dem,
        np.where(missing, FILL, elevation).astype(np.float32),
        transform,
        _CRS,
        FILL,
        description="elevation, m",
    )
    colours = {cover.code: cover.colour for cover in COVERS.values()}
    write_geotiff(landcover, np.where(missing, 0, cover).astype(np.uint8), transform, _CRS, 0, colours)
    write_geotiff(soilmap, np.where(missing, -1, soils).astype(np.int32), transform, _CRS, -1)
    with (soilmap.parent / "soils.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["key", "name", "hydrologic_group", "erodibility"])
        table.writerows([soil.key, soil.name, soil.hydrologic_group, soil.erodibility] for soil in SOILS)
    progress("monthly climate")
    heights, degrees = _climate_grid(elevation, transform)
    monthly = monthly_means(monthly_rng, heights)
    for path, (name, values) in zip(monthly_maps, monthly.items(), strict=True):
        description = ", ".join(reversed(VARIABLES[name]))
        write_geotiff(path, values.astype(np.float32), degrees, _DEGREES, FILL, description=description)
    progress(f"daily climate of {YEAR}")
    for name, days in daily_weather(daily_rng, monthly).items():
        write_daily(folder / DAILY / f"{name}.nc", name, days, degrees)
    for path in (dem, landcover, soilmap, *monthly_maps):
        rasterio.shutil.copy(path, path.with_name(".vrt"), driver="VRT")
    (folder / CATALOG).write_text(json.dumps([f"{name}/.vrt" for name in RASTERS], indent=1))
    inset = _BORDER + _MARGIN
    inner = array_bounds(SIZE - 2 * inset, SIZE - 2 * inset, transform @ Affine.translation(inset, inset))
    return [round(value, 5) for value in transform_bounds(_CRS, _DEGREES, *inner)]


def _missing(rng: np.random.Generator) -> np.ndarray:
    # A survey has a ragged edge and gaps; programs that never saw a nodata cell would pass on a flawless raster.
    distance = np.minimum(np.arange(SIZE), np.arange(SIZE)[::-1])
    edge = np.minimum(distance[:, None], distance[None, :])
    missing = edge < _BORDER + np.clip(np.rint(1.5 * smooth_noise(rng, SIZE, 32)), -3, 3)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for row, column, radius in ((0.32, 0.41, 4.0), (0.63, 0.72, 6.5)):
        missing |= np.hypot(rows - row * SIZE, columns - column * SIZE) < radius
    return missing


def _climate_grid(elevation: Floats, transform: Affine) -> tuple[Floats, Affine]:
    """Return mean elevations on a regular grid in degrees around the landscape, and where that lies."""
    left, bottom, right, top = transform_bounds(_CRS, _DEGREES, *array_bounds(*elevation.shape, transform))
    step = _CLIMATE_STEP
    west, north = (round((left // step - 1) * step, 6), round((top // step + 2) * step, 6))
    degrees = Affine.translation(west, north) @ Affine.scale(step, -step)
    heights = np.full((int((north - bottom) / step) + 2, int((right - west) / step) + 2), np.nan)
    reproject(
        elevation,
        heights,
        src_transform=transform,
        src_crs=_CRS,
        dst_transform=degrees,
        dst_crs=_DEGREES,
        dst_nodata=np.nan,
        resampling=Resampling.average,
    )
    return np.where(np.isnan(heights), elevation.mean(), heights), degrees

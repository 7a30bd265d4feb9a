"""Make the whole of the sample geodata in a folder beside its destination, then move it in and mark it complete."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.warp import reproject, transform_bounds

from wepppy.geotiff import write_geotiff
from wepppy.sample_data import CELL_SIZE, EPSG, FORMAT, LEFT, MARKER, SIZE, TOP, YEAR
from wepppy.sample_data.climate import FILL, VARIABLES, ClimateGrid, daily_weather, monthly_means, write_daily
from wepppy.sample_data.ground import COLOURS, SOILS, cover_and_soils
from wepppy.sample_data.landscape import grow_landscape, smooth_noise
from wepppy.sample_data.rasters import write_vrt
from wepppy.terrain.flow import Floats
from wepppy.terrain.landcover import COVERS

FOLDERS = (
    "ned1/2016",
    "nlcd/2019",
    "ssurgo/2016",
    *(f"daymet/monthly/{name}" for name in VARIABLES),
    f"daymet/daily/{YEAR}",
)
CATALOG = "catalog.json"
PARTIAL = ".sample-data.partial"

_BORDER = 8  # cells without data around the landscape
_MARGIN = 16 * CELL_SIZE  # between a new run's extent and the landscape's edge
_CLIMATE_STEP = 0.01  # degrees


class ForeignDataError(Exception):
    """The destination holds data that this program did not make."""


def generate(geodata: Path, seed: int, force: bool, progress: Callable[[str], None]) -> None:
    """Fill `geodata`; readers find each dataset either as it was or complete.

    The marker goes first and comes back last: whatever interrupts this, the next call starts anew. Raises
    ForeignDataError, having changed nothing, when a dataset is there that was not made here and `force` is not set.
    """
    geodata.mkdir(parents=True, exist_ok=True)
    with (geodata / f"{PARTIAL}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second generator waits instead of mixing its files in
        partial = geodata / PARTIAL
        ours = (geodata / MARKER).exists() or partial.exists()
        foreign = [name for name in (*FOLDERS, CATALOG) if (geodata / name).exists()]
        if foreign and not ours and not force:
            raise ForeignDataError(f"{geodata / foreign[0]} was not made by this program")
        shutil.rmtree(partial, ignore_errors=True)
        made = partial / "new"
        made.mkdir(parents=True)
        extent = _make(made, seed, progress)
        _move_in(made, partial / "old", geodata)
        names = sorted(
            str(path.relative_to(geodata)) for name in FOLDERS for path in (geodata / name).iterdir()
        )
        marker: dict[str, Any] = {
            "format": FORMAT,
            "seed": seed,
            "run_extent": extent,
            "files": {name: (geodata / name).stat().st_size for name in [*names, CATALOG]},
        }
        _write_whole(geodata / MARKER, json.dumps(marker, indent=1))
        shutil.rmtree(partial)


def _make(folder: Path, seed: int, progress: Callable[[str], None]) -> list[float]:
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
    dem = np.where(missing, FILL, elevation).astype(np.float32)
    ned1, nlcd, ssurgo = (folder / name for name in FOLDERS[:3])
    crs = CRS.from_epsg(EPSG)
    write_geotiff(ned1 / "dem.tif", dem, transform, crs, FILL, description="elevation, m")
    write_geotiff(
        nlcd / "landcover.tif", np.where(missing, 0, cover).astype(np.uint8), transform, crs, 0, COLOURS
    )
    write_geotiff(ssurgo / "soils.tif", np.where(missing, -1, soils).astype(np.int32), transform, crs, -1)
    _write_tables(nlcd, ssurgo)
    bounds = (LEFT, TOP - SIZE * CELL_SIZE, LEFT + SIZE * CELL_SIZE, TOP)
    grid = _climate_grid(elevation, transform, bounds)
    progress("monthly climate")
    monthly = monthly_means(monthly_rng, grid)
    _write_monthly(folder, monthly, grid)
    progress(f"daily climate of {YEAR}")
    (folder / FOLDERS[-1]).mkdir(parents=True)
    for name, values in daily_weather(daily_rng, monthly).items():
        write_daily(folder / FOLDERS[-1] / f"{name}.nc", name, values, grid)
    catalog = [
        write_vrt([source]) for source in (ned1 / "dem.tif", nlcd / "landcover.tif", ssurgo / "soils.tif")
    ]
    for name in VARIABLES:
        catalog.append(
            write_vrt([folder / f"daymet/monthly/{name}/{month:02}.tif" for month in range(1, 13)])
        )
    (folder / CATALOG).write_text(json.dumps([str(path.relative_to(folder)) for path in catalog], indent=1))
    inset = _BORDER * CELL_SIZE + _MARGIN
    return [round(value, 5) for value in _inner_bounds(bounds, inset)]


def _inner_bounds(bounds: tuple[float, float, float, float], inset: float) -> tuple[float, ...]:
    left, bottom, right, top = bounds
    inner: tuple[float, ...] = transform_bounds(
        CRS.from_epsg(EPSG), CRS.from_epsg(4326), left + inset, bottom + inset, right - inset, top - inset
    )
    return inner


def _missing(rng: np.random.Generator) -> np.ndarray:
    # A survey has a ragged edge and gaps; programs that never saw a nodata cell would pass on a flawless raster.
    distance = np.minimum(np.arange(SIZE), np.arange(SIZE)[::-1])
    edge = np.minimum(distance[:, None], distance[None, :])
    missing = edge < _BORDER + np.clip(np.rint(1.5 * smooth_noise(rng, SIZE, 32)), -3, 3)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for row, column, radius in ((0.32, 0.41, 4.0), (0.63, 0.72, 6.5)):
        missing |= np.hypot(rows - row * SIZE, columns - column * SIZE) < radius
    return missing


def _write_tables(nlcd: Path, ssurgo: Path) -> None:
    with (nlcd / "classes.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["code", "name"])
        table.writerows([cover.code, cover.name] for cover in COVERS.values())
    with (ssurgo / "soils.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["key", "name", "hydrologic_group", "erodibility"])
        table.writerows([soil.key, soil.name, soil.hydrologic_group, soil.erodibility] for soil in SOILS)


def _climate_grid(
    elevation: Floats, transform: Affine, bounds: tuple[float, float, float, float]
) -> ClimateGrid:
    left, bottom, right, top = transform_bounds(CRS.from_epsg(EPSG), CRS.from_epsg(4326), *bounds)
    step = _CLIMATE_STEP
    west, north = np.floor(left / step) * step - step, np.ceil(top / step) * step + step
    columns = int(np.ceil((right + step - west) / step))
    rows = int(np.ceil((north - bottom + step) / step))
    heights = np.full((rows, columns), np.nan)
    reproject(
        elevation,
        heights,
        src_transform=transform,
        src_crs=CRS.from_epsg(EPSG),
        dst_transform=Affine.translation(west, north) @ Affine.scale(step, -step),
        dst_crs=CRS.from_epsg(4326),
        dst_nodata=np.nan,
        resampling=Resampling.average,
    )
    heights[np.isnan(heights)] = float(elevation.mean())  # beyond the landscape
    return ClimateGrid(round(float(west), 6), round(float(north), 6), step, heights)


def _write_monthly(folder: Path, monthly: dict[str, Floats], grid: ClimateGrid) -> None:
    transform = Affine.translation(grid.left, grid.top) @ Affine.scale(grid.step, -grid.step)
    for name, values in monthly.items():
        units, long_name = VARIABLES[name]
        for month in range(12):
            path = folder / f"daymet/monthly/{name}/{month + 1:02}.tif"
            write_geotiff(
                path,
                values[month].astype(np.float32),
                transform,
                CRS.from_epsg(4326),
                FILL,
                description=f"{long_name}, {units}",
            )


def _move_in(made: Path, old: Path, geodata: Path) -> None:
    (geodata / MARKER).unlink(missing_ok=True)
    for number, name in enumerate((*FOLDERS, CATALOG)):
        target = geodata / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            old.mkdir(exist_ok=True)
            target.rename(old / str(number))
        (made / name).rename(target)


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)

"""Elevations against gdallocationinfo, and which raster of a run they come from."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from elevation import RUN, Answer, ask
from rasters import (
    CELL,
    HEIGHT,
    LEFT,
    NODATA,
    TOP,
    UTM,
    WIDTH,
    elevations,
    values_at,
    write_raster,
)

pytestmark = pytest.mark.usefixtures("elevation_volumes")


def dem(elevation_volumes: Path) -> Path:
    return elevation_volumes / f"wc1/runs/sa/{RUN}/dem/dem.tif"


def test_elevation_equals_gdallocationinfo_in_every_corner_and_all_over(elevation_volumes: Path) -> None:
    rng = np.random.default_rng(1)
    right, bottom = LEFT + WIDTH * CELL, TOP - HEIGHT * CELL
    points = [(rng.uniform(LEFT - 90, right + 90), rng.uniform(bottom - 90, TOP + 90)) for _ in range(150)]
    tiny = 1e-4
    points += [
        (x, y)
        for x in (LEFT, LEFT + tiny, right - tiny, right)
        for y in (TOP, TOP - tiny, bottom + tiny, bottom)
    ]
    points += [
        (LEFT + CELL * column, TOP - CELL * row) for column, row in ((90, 60), (97, 66), (30, 20), (1, 1))
    ]
    for (x, y), found in zip(points, values_at(dem(elevation_volumes), points, "-geoloc"), strict=True):
        answer = ask(lat=y, lng=x, srs=UTM)
        if not found:
            assert answer["Error"] == "Location outside DEM extent", (x, y)
        elif found[0] == NODATA or math.isnan(found[0]):
            assert answer["Error"] == "No elevation data at requested location", (x, y)
        else:
            assert answer["Elevation"] == pytest.approx(found[0], abs=1e-4), (x, y)


def test_elevation_at_degrees_equals_gdallocationinfo(elevation_volumes: Path) -> None:
    rng = np.random.default_rng(2)
    points = [(rng.uniform(-116.89, -116.83), rng.uniform(46.84, 46.87)) for _ in range(60)]
    compared = 0
    for (lng, lat), found in zip(points, values_at(dem(elevation_volumes), points, "-wgs84"), strict=True):
        answer = ask(lat=lat, lng=lng)
        assert (answer["Longitude"], answer["Latitude"]) == (lng, lat)
        if found and found[0] != NODATA:
            compared += 1
            assert answer["Elevation"] == pytest.approx(found[0], abs=1e-4)
        else:
            assert answer["Elevation"] is None
    assert compared > 30


def test_rotated_and_large_and_scaled_rasters_are_sampled_where_gdal_samples_them(
    elevation_run: Path,
) -> None:
    import rasterio

    rng = np.random.default_rng(3)
    turned = Affine.translation(LEFT, TOP) @ Affine.rotation(30) @ Affine.scale(7, -13)
    large = rng.integers(0, 4000, size=(1500, 1500)).astype(np.int16)
    path = write_raster(elevation_run / "dem/dem.tif", large, turned, nodata=None)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.5,), (100.0,)
    points = [turned @ (rng.uniform(-50, 1550), rng.uniform(-50, 1550)) for _ in range(60)]
    for (x, y), found in zip(points, values_at(path, points, "-geoloc"), strict=True):
        answer = ask(run=elevation_run.name, lat=y, lng=x, srs=UTM)
        assert answer["Elevation"] == (found[0] * 0.5 + 100 if found else None)


def test_the_raster_is_the_first_of_the_names_that_runs_use(elevation_run: Path) -> None:
    name, point = elevation_run.name, {"lat": TOP - 100, "lng": LEFT + 100, "srs": UTM}

    def level(height: float) -> np.ndarray:
        return np.full((20, 20), height, dtype=np.float32)

    assert ask(run=name, **point)["Error"] == "DEM not found under run directory"
    for height, file in ((1, "b.TIF"), (2, "a.tif"), (3, "dem.tiff"), (4, "dem.tif")):
        write_raster(elevation_run / "dem" / file, level(height))
        assert ask(run=name, **point)["Elevation"] == height
    (elevation_run / "dem").rename(elevation_run / "old")
    write_raster(elevation_run / "other.tif", level(5)).rename(elevation_run / "dem")
    assert ask(run=name, **point)["Elevation"] == 5


def test_a_replaced_raster_is_seen_at_once(elevation_run: Path) -> None:
    name, point = elevation_run.name, {"lat": TOP - 100, "lng": LEFT + 100, "srs": UTM}
    path = elevation_run / "dem/dem.tif"
    for height in (11, 12, 13):
        write_raster(elevation_run / "new.tif", np.full((20, 20), height, dtype=np.float32))
        os.utime(elevation_run / "new.tif", (1, 1))
        path.parent.mkdir(exist_ok=True)
        (elevation_run / "new.tif").replace(path)
        assert ask(run=name, **point)["Elevation"] == height


def test_rasters_that_can_not_be_used_say_why(elevation_run: Path, elevation_volumes: Path) -> None:
    name, point = elevation_run.name, {"lat": 1, "lng": 2}
    path = write_raster(elevation_run / "dem/dem.tif", elevations(), crs=None)
    assert ask(run=name, **point)["Error"] == "DEM missing coordinate reference system"
    path.write_bytes(b"II*\0 no more of it")
    answer = ask(run=name, **point)
    assert answer["Error"] == "Unexpected error sampling elevation"
    path.unlink()
    outside = write_raster(elevation_volumes / "private.tif", elevations())
    path.symlink_to(outside)
    assert ask(run=name, **point)["Error"] == "Unexpected error sampling elevation"


def test_a_project_inside_the_run_has_its_own_raster(elevation_volumes: Path) -> None:
    run = elevation_volumes / f"wc1/runs/sa/{RUN}"
    write_raster(run / "_pups/omni/scenarios/thin/dem/dem.tif", np.full((20, 20), 7, dtype=np.float32))
    point: Answer = {"lat": TOP - 100, "lng": LEFT + 100, "srs": UTM}
    assert ask(pup="omni/scenarios/thin", **point)["Elevation"] == 7
    (run / "_pups/out").symlink_to(elevation_volumes)
    for pup in (
        "none",
        "..",
        "../..",
        "omni/../..",
        "/etc",
        "out",
        "a\\b",
        "a\0b",
        "x" * 500,
        ".",
        "omni//scenarios",
    ):
        assert ask(pup=pup, **point)["Error"] == f"Pup project '{pup}' not found for run '{RUN}'"
    for value in (["omni"], {"a": 1}, 5, True):
        assert ask(body={"pup": value}, **point)["Error"].startswith("Pup project '")

"""From the elevation raster to the channel network and the subcatchments around it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import rasterio
import rasterio.features
from rasterio.warp import transform as transform_points
from rasterio.warp import transform_bounds, transform_geom
from rasterio.windows import Window

from wepppy.rq.steps.outputs import Grid, write_json, write_raster, write_table
from wepppy.rq.steps.state import RunError, RunState
from wepppy.terrain import channels, flow, surface
from wepppy.terrain.flow import Floats

DEM_SOURCE = "ned1/2016/.vrt"
NODATA = -9999.0
SOURCE_AREA = 450_000.0  # m2 that must drain to a cell before a channel begins there
_SMALLEST = 32  # cells per side


def fetch_dem(state: RunState) -> None:
    """Crop the elevation to the run's extent, on the cells of the source: no value is interpolated."""
    path = state.geodata / DEM_SOURCE
    if not path.exists():
        raise RunError("there is no elevation data; the sample data has not been made yet")
    with rasterio.open(path) as source:
        if not source.crs or not source.crs.is_projected:
            raise RunError("the elevation data must be in a projected coordinate system")
        left, bottom, right, top = transform_bounds("EPSG:4326", source.crs, *state.project.extent)
        x_first, y_first = ~source.transform @ (left, top)
        x_last, y_last = ~source.transform @ (right, bottom)
        column, row = max(math.ceil(x_first), 0), max(math.ceil(y_first), 0)
        width = min(math.floor(x_last), source.width) - column
        height = min(math.floor(y_last), source.height) - row
        if width < _SMALLEST or height < _SMALLEST:
            raise RunError(
                f"the extent covers less than {_SMALLEST} x {_SMALLEST} cells of the elevation data"
            )
        window = Window(column, row, width, height)
        band = source.read(1, window=window, masked=True)
        state.grid = Grid(source.window_transform(window), source.crs, (height, width))
    state.elevation = np.ma.filled(band.astype(np.float64), np.nan)
    if np.isnan(state.elevation).all():
        raise RunError("the elevation data holds no value within the extent")
    write_raster(state.folder / "dem/dem.tif", state.elevation, state.grid, NODATA, "elevation, m")
    shade = surface.hillshade(state.elevation, state.grid.cell_size)
    write_raster(
        state.folder / "dem/hillshade.tif", shade, state.grid, 0, "hillshade, light from the north-west"
    )
    state.summary["elevation"] = {
        "cells": int(np.isfinite(state.elevation).sum()),
        "lowest_m": round(float(np.nanmin(state.elevation)), 2),
        "highest_m": round(float(np.nanmax(state.elevation)), 2),
    }
    state.progress(f"fetch_dem: {width} x {height} cells of {state.grid.cell_size:g} m")


def build_channels(state: RunState) -> None:
    """Find where water flows on the whole raster: surface without depressions, direction, contributing area."""
    state.progress("build_channels: filling depressions")
    closed = surface.close_holes(state.elevation)
    state.filled = flow.fill_depressions(closed)
    state.downstream, state.codes = flow.flow_direction(state.filled)
    state.order = flow.upstream_first(state.filled, state.downstream)
    state.contributing = flow.accumulate(state.downstream, state.order)
    state.slope = surface.slope(closed, state.grid.cell_size).ravel()
    state.aspect = surface.aspect(closed, state.grid.cell_size).ravel()
    folder, grid = state.folder / "watershed", state.grid
    write_raster(folder / "filled.tif", state.filled, grid, NODATA, "elevation without depressions, m")
    write_raster(folder / "flow_direction.tif", state.codes, grid, 255, "1 2 4 .. 128 clockwise from east")
    area = state.contributing * grid.cell_area
    write_raster(folder / "contributing_area.tif", area, grid, NODATA, "contributing area, m2")
    write_raster(folder / "slope.tif", state.slope, grid, NODATA, "slope, m/m")
    write_raster(folder / "aspect.tif", state.aspect, grid, NODATA, "aspect, degrees from north")
    raised = int((state.filled > closed + 1e-6).sum())
    count = int((area >= SOURCE_AREA).sum())
    state.progress(f"build_channels: {raised} cells raised, {count} channel cells")


def set_outlet(state: RunState) -> None:
    """Choose the outlet: the cell by which most water leaves the raster."""
    state.outlet = channels.find_outlet(state.contributing, state.downstream)
    area = float(state.contributing[state.outlet]) * state.grid.cell_area
    if area < SOURCE_AREA:
        raise RunError("no channel leaves the extent; choose a larger one")
    state.watershed = channels.watershed_of(state.outlet, state.downstream, state.order)
    longitude, latitude = lonlat(state, np.array([state.outlet]))
    state.summary["outlet"] = {
        "longitude": round(float(longitude[0]), 6),
        "latitude": round(float(latitude[0]), 6),
        "area_ha": round(area / 1e4, 2),
    }
    state.progress(f"set_outlet: {area / 1e6:.1f} km2 drain to {latitude[0]:.5f}, {longitude[0]:.5f}")


def build_subcatchments(state: RunState) -> None:
    """Cut the channels into links and give every cell of the watershed to the link that it drains to."""
    area = state.contributing * state.grid.cell_area
    state.channel = state.watershed & (area >= SOURCE_AREA)
    state.links = channels.channel_links(
        state.channel,
        state.outlet,
        state.filled,
        state.codes,
        state.contributing,
        state.downstream,
        state.order,
        state.grid.cell_size,
    )
    labels = channels.label_links(state.links, state.downstream.size)
    state.subcatchments = flow.inherit_labels(labels, state.downstream, state.order)
    folder = state.folder / "watershed"
    write_raster(folder / "channels.tif", labels, state.grid, 0, "channel link")
    write_raster(
        folder / "subcatchments.tif", state.subcatchments, state.grid, 0, "subcatchment of channel link"
    )
    state.progress(f"build_subcatchments: {len(state.links)} channel links, each with its subcatchment")


def abstract_watershed(state: RunState) -> None:
    """Describe links and subcatchments in tables and as shapes for a map."""
    cells = np.arange(state.subcatchments.size)
    inside = state.subcatchments > 0
    rows, columns = np.divmod(cells, state.grid.shape[1])
    centre_rows = state.mean_by_subcatchment(rows.astype(np.float64))
    centre_columns = state.mean_by_subcatchment(columns.astype(np.float64))
    state.longitudes, state.latitudes = _lonlat_of(state, centre_rows, centre_columns)
    counts = np.bincount(state.subcatchments[inside], minlength=len(state.links) + 1)[1:]
    state.areas = counts.astype(np.float64) * state.grid.cell_area
    links = state.links
    write_table(
        state.folder / "watershed/channels",
        {
            "link": [link.number for link in links],
            "downstream": [link.downstream for link in links],
            "strahler_order": [link.order for link in links],
            "length_m": [link.length for link in links],
            "top_m": [link.top for link in links],
            "bottom_m": [link.bottom for link in links],
            "area_ha": [link.area / 1e4 for link in links],
        },
    )
    write_table(
        state.folder / "watershed/subcatchments",
        {
            "subcatchment": [link.number for link in links],
            "area_ha": state.areas / 1e4,
            "longitude": state.longitudes,
            "latitude": state.latitudes,
            "elevation_m": state.mean_by_subcatchment(state.filled.ravel()),
            "slope": state.mean_by_subcatchment(state.slope),
        },
    )
    write_json(state.folder / "watershed/channels.geojson", _channel_shapes(state), indent=None)
    state.outlines = _subcatchment_outlines(state)
    shapes = {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "properties": {"subcatchment": link.number}, "geometry": outline}
            for link, outline in zip(links, state.outlines, strict=True)
        ],
    }
    write_json(state.folder / "watershed/subcatchments.geojson", shapes, indent=None)
    state.summary["watershed"] = {
        "area_ha": round(float(state.areas.sum()) / 1e4, 2),
        "subcatchments": len(links),
        "channel_length_km": round(sum(link.length for link in links) / 1000, 2),
        "highest_strahler_order": max(link.order for link in links),
        "mean_slope": round(float(np.nanmean(state.slope[inside])), 4),
    }
    state.progress(f"abstract_watershed: {state.areas.sum() / 1e6:.1f} km2 described")


def lonlat(state: RunState, cells: np.ndarray) -> tuple[Floats, Floats]:
    """Return the longitudes and latitudes of the centres of flat cells."""
    rows, columns = np.divmod(cells, state.grid.shape[1])
    return _lonlat_of(state, rows, columns)


def _lonlat_of(state: RunState, rows: np.ndarray, columns: np.ndarray) -> tuple[Floats, Floats]:
    transform = state.grid.transform  # north up: x depends on the column alone, y on the row
    x, y = transform.c + transform.a * (columns + 0.5), transform.f + transform.e * (rows + 0.5)
    longitudes, latitudes = transform_points(state.grid.crs, "EPSG:4326", x, y)
    return np.asarray(longitudes), np.asarray(latitudes)


def _channel_shapes(state: RunState) -> dict[str, object]:
    features = []
    for link in state.links:
        cells = list(link.cells)
        below = int(state.downstream[cells[-1]])
        if below >= 0:
            cells.append(below)
        if len(cells) == 1:
            cells *= 2  # a line needs two points even where the outlet is a link of its own
        points = [[round(x, 6), round(y, 6)] for x, y in zip(*lonlat(state, np.array(cells)), strict=True)]
        features.append(
            {
                "type": "Feature",
                "properties": {"link": link.number, "strahler_order": link.order},
                "geometry": {"type": "LineString", "coordinates": points},
            }
        )
    return {"type": "FeatureCollection", "features": features}


def _subcatchment_outlines(state: RunState) -> list[dict[str, Any]]:
    labels = state.subcatchments.reshape(state.grid.shape)
    parts: dict[int, list[object]] = {link.number: [] for link in state.links}
    for shape, label in rasterio.features.shapes(labels, mask=labels > 0, transform=state.grid.transform):
        parts[int(label)].append(shape["coordinates"])
    whole = [{"type": "MultiPolygon", "coordinates": parts[link.number]} for link in state.links]
    moved: list[dict[str, Any]] = transform_geom(state.grid.crs, "EPSG:4326", whole, precision=6)
    return moved

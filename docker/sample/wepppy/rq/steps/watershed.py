"""From the elevation raster to the channel network and the subcatchments around it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import rasterio
import rasterio.features
from rasterio.warp import transform_bounds, transform_geom
from rasterio.windows import Window

from wepppy.rq.steps.outputs import write_features, write_table
from wepppy.rq.steps.state import Grid, RunError, RunState
from wepppy.terrain import flow
from wepppy.terrain.channels import delineate
from wepppy.terrain.surface import close_holes, slope_and_aspect

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
    state.elevation = band.astype(np.float64).filled(np.nan)
    if np.isnan(state.elevation).all():
        raise RunError("the elevation data holds no value within the extent")
    state.grid.write(state.folder / "dem/dem.tif", state.elevation, NODATA, "elevation, m")
    state.progress(f"fetch_dem: {width} x {height} cells of {state.grid.cell_size:g} m")


def build_channels(state: RunState) -> None:
    """Find where water flows on the whole raster: surface without depressions, direction, contributing area."""
    state.progress("build_channels: filling depressions")
    closed, grid = close_holes(state.elevation), state.grid
    state.filled = flow.fill_depressions(closed)
    state.downstream, codes = flow.flow_direction(state.filled)
    state.order = flow.upstream_first(state.filled)
    state.contributing = flow.accumulate(state.downstream, state.order) * grid.cell_area
    state.slope, state.aspect = (each.ravel() for each in slope_and_aspect(closed, grid.cell_size))
    for name, values, nodata, description in (
        ("filled", state.filled, NODATA, "elevation without depressions, m"),
        ("flow_direction", codes, 255, "1 2 4 .. 128 clockwise from east"),
        ("contributing_area", state.contributing, NODATA, "contributing area, m2"),
        ("slope", state.slope, NODATA, "slope, m/m"),
        ("aspect", state.aspect, NODATA, "aspect, degrees from north"),
    ):
        grid.write(state.folder / f"watershed/{name}.tif", values, nodata, description)
    raised = int((state.filled > closed + 1e-6).sum())
    count = int((state.contributing >= SOURCE_AREA).sum())
    state.progress(f"build_channels: {raised} cells raised, {count} channel cells")


def set_outlet(state: RunState) -> None:
    """Choose the outlet: the cell by which most water leaves the raster."""
    state.outlet = int(np.nanargmax(state.contributing))
    area = float(state.contributing[state.outlet])
    if area < SOURCE_AREA:
        raise RunError("no channel leaves the extent; choose a larger one")
    longitude, latitude = state.grid.lonlat(*np.divmod([state.outlet], state.grid.shape[1]))
    state.summary["outlet"] = {
        "longitude": float(longitude[0]),
        "latitude": float(latitude[0]),
        "area_ha": area / 1e4,
    }
    state.progress(f"set_outlet: {area / 1e6:.1f} km2 drain to {latitude[0]:.5f}, {longitude[0]:.5f}")


def build_subcatchments(state: RunState) -> None:
    """Cut the channels into links and give every cell of the watershed to the link that it drains to."""
    state.links, state.subcatchments = delineate(
        state.contributing, state.downstream, state.order, state.outlet, SOURCE_AREA
    )
    state.channel = (state.subcatchments > 0) & (state.contributing >= SOURCE_AREA)
    folder, labels = state.folder / "watershed", state.subcatchments
    state.grid.write(folder / "channels.tif", np.where(state.channel, labels, 0), 0, "channel link")
    state.grid.write(folder / "subcatchments.tif", labels, 0, "subcatchment of channel link")
    state.progress(f"build_subcatchments: {len(state.links)} channel links, each with its subcatchment")


def abstract_watershed(state: RunState) -> None:
    """Describe links and subcatchments in tables and as shapes for a map."""
    grid, links, folder = state.grid, state.links, state.folder / "watershed"
    rows, columns = np.divmod(np.arange(state.subcatchments.size, dtype=np.float64), grid.shape[1])
    state.longitudes, state.latitudes = grid.lonlat(state.means(rows), state.means(columns))
    state.areas = np.bincount(state.subcatchments)[1:] * grid.cell_area
    steps = flow.step_lengths(state.downstream, grid.shape[1], grid.cell_size)
    lengths, heights = [steps[link.cells].sum() for link in links], state.filled.ravel()
    write_table(
        folder / "channels",
        {
            "link": state.numbers,
            "downstream": [link.downstream for link in links],
            "strahler_order": [link.order for link in links],
            "length_m": lengths,
            "top_m": [heights[link.cells[0]] for link in links],
            "bottom_m": [heights[link.cells[-1]] for link in links],
            "area_ha": [state.contributing[link.cells[-1]] / 1e4 for link in links],
        },
    )
    write_table(
        folder / "subcatchments",
        {
            "subcatchment": state.numbers,
            "area_ha": state.areas / 1e4,
            "longitude": state.longitudes,
            "latitude": state.latitudes,
            "elevation_m": state.means(heights),
            "slope": state.means(state.slope),
        },
    )
    write_features(folder / "channels.geojson", _channel_lines(state))
    labels = state.subcatchments.reshape(grid.shape)
    parts: dict[int, list[object]] = {number: [] for number in state.numbers}
    for shape, label in rasterio.features.shapes(labels, mask=labels > 0, transform=grid.transform):
        parts[int(label)].append(shape["coordinates"])
    whole = [{"type": "MultiPolygon", "coordinates": part} for part in parts.values()]
    state.outlines = transform_geom(grid.crs, "EPSG:4326", whole, precision=6)
    state.summary["watershed"] = {
        "area_ha": float(state.areas.sum()) / 1e4,
        "subcatchments": len(links),
        "channel_length_km": float(sum(lengths)) / 1000,
        "highest_strahler_order": max(link.order for link in links),
        "mean_slope": float(np.nanmean(state.slope[state.subcatchments > 0])),
    }
    state.progress(f"abstract_watershed: {state.areas.sum() / 1e6:.1f} km2 described")


def _channel_lines(state: RunState) -> list[tuple[dict[str, Any], Any]]:
    features = []
    for link in state.links:
        # On to the first cell of the link below. A line needs two points even where the outlet is a link of its own.
        end = int(state.downstream[link.cells[-1]])
        cells = np.append(link.cells, end if end >= 0 else link.cells[-1])
        points = np.column_stack(state.grid.lonlat(*np.divmod(cells, state.grid.shape[1]))).round(6)
        line = {"type": "LineString", "coordinates": points.tolist()}
        features.append(({"link": link.number, "strahler_order": link.order}, line))
    return features

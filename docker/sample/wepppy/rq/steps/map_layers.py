"""What the run's page shows on its map: results by subcatchment in WGS 84, and rasters as pictures with their legends.

Pictures are in web Mercator (EPSG:3857), the projection of web maps, so that a browser need not warp them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.features import shapes
from rasterio.transform import array_bounds
from rasterio.warp import calculate_default_transform, reproject, transform_bounds, transform_geom

from wepppy.raster_bytes import encode_raster
from wepppy.rq.steps.outputs import whole_file, write_json
from wepppy.rq.steps.state import RunError, RunState
from wepppy.terrain.landcover import COVERS
from wepppy.terrain.surface import GROUND, ground_colours

Colour = tuple[int, int, int]
MERCATOR = CRS.from_epsg(3857)


def write_map_layers(state: RunState) -> None:
    """Write `map/subcatchments.geojson`, `map/watershed.geojson`, the pictures and `map/layers.json`."""
    folder = state.folder / "map"
    write_json(folder / "subcatchments.geojson", _subcatchments(state), indent=None)
    write_json(folder / "watershed.geojson", _watershed(state), indent=None)
    write_json(folder / "layers.json", {"landcover": _land_cover(state), "elevation": _elevation(state)})


def _subcatchments(state: RunState) -> dict[str, Any]:
    balance = state.balance
    columns = {
        "area_ha": state.areas / 1e4,
        "soil_loss_t_ha": state.soil_loss,
        "runoff_mm": (balance.direct + balance.baseflow).sum(axis=1),
        "direct_runoff_mm": balance.direct.sum(axis=1),
        "precipitation_mm": state.precipitation.sum(axis=1),
        "evapotranspiration_mm": balance.evapotranspiration.sum(axis=1),
        "discharge_m3_s": state.discharge,
        "peak_m3_s": state.peaks.max(axis=1),
    }
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return _collection(
        ({"subcatchment": link.number, **dict(zip(columns, map(_short, row), strict=True))}, outline)
        for link, outline, row in zip(state.links, state.outlines, rows, strict=True)
    )


def _watershed(state: RunState) -> dict[str, Any]:
    inside = (state.subcatchments > 0).reshape(state.grid.shape)
    found = shapes(inside.astype(np.uint8), mask=inside, transform=state.grid.transform)
    whole = {"type": "MultiPolygon", "coordinates": [shape["coordinates"] for shape, _ in found]}
    boundary = transform_geom(state.grid.crs, "EPSG:4326", whole, precision=6)
    outlet = state.summary["outlet"]
    point = {"type": "Point", "coordinates": [outlet["longitude"], outlet["latitude"]]}
    return _collection([({"part": "boundary"}, boundary), ({"part": "outlet"}, point)])


def _land_cover(state: RunState) -> dict[str, Any]:
    band = np.where((state.cover > 0) & (state.subcatchments > 0), state.cover, 0).astype(np.uint8)
    colours = state.cover_colours
    codes = [code for code in COVERS if (band == code).any()]
    bounds = _picture(state, "landcover", band, {code: colours.get(code, (128, 128, 128)) for code in codes})
    classes = [
        {"name": COVERS[code].name, "colour": _hex(colours.get(code, (128, 128, 128)))} for code in codes
    ]
    return {"file": "landcover.png", "bounds": bounds, "classes": classes}


def _elevation(state: RunState) -> dict[str, Any]:
    height = state.elevation.ravel()
    low, high = float(np.nanmin(height)), float(np.nanmax(height))
    steps = 1 + np.rint(254 * (height - low) / ((high - low) or 1.0))
    band = np.where(np.isnan(height), 0, np.nan_to_num(steps)).astype(np.uint8)
    colours = np.rint(ground_colours(np.linspace(0, 1, 255))).astype(int).tolist()
    ramp = {code: tuple(colour) for code, colour in enumerate(colours, start=1)}
    bounds = _picture(state, "elevation", band, ramp)
    scale = {"low": round(low), "high": round(high), "unit": "m", "colours": [_hex(stop) for stop in GROUND]}
    return {"file": "elevation.png", "bounds": bounds, "scale": scale}


def _picture(
    state: RunState, name: str, band: NDArray[np.uint8], colours: dict[int, Any]
) -> list[list[float]]:
    """Write `map/<name>.png` of a flat band of codes, 0 being transparent; return [[south, west], [north, east]]."""
    grid = state.grid
    rows, columns = grid.shape
    box = array_bounds(rows, columns, grid.transform)
    transform, width, height = calculate_default_transform(grid.crs, MERCATOR, columns, rows, *box)
    if width is None or height is None:
        raise RunError("the run cannot be shown in web Mercator")
    warped = np.zeros((height, width), dtype=np.uint8)
    reproject(
        band.reshape(grid.shape),
        warped,
        src_transform=grid.transform,
        src_crs=grid.crs,
        dst_transform=transform,
        dst_crs=MERCATOR,
        resampling=Resampling.nearest,
    )
    palette = {0: (0, 0, 0, 0), **{code: (*colour, 255) for code, colour in colours.items()}}
    content = encode_raster("PNG", ".png", warped[np.newaxis], {"transform": transform}, colours=palette)
    with whole_file(state.folder / "map" / f"{name}.png") as temporary:
        temporary.write_bytes(content)
    left, bottom, right, top = transform_bounds(
        MERCATOR, "EPSG:4326", *array_bounds(height, width, transform)
    )
    return [[round(bottom, 7), round(left, 7)], [round(top, 7), round(right, 7)]]


def _collection(features: Any) -> dict[str, Any]:
    listed = [
        {"type": "Feature", "properties": properties, "geometry": geometry}
        for properties, geometry in features
    ]
    return {"type": "FeatureCollection", "features": listed}


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)

"""What the run's page shows on its map: results by subcatchment in WGS 84, and rasters as pictures with their legends.

Pictures are in web Mercator (EPSG:3857), the projection of web maps, so that a browser need not warp them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.features import shapes
from rasterio.transform import array_bounds
from rasterio.warp import reproject, transform_bounds, transform_geom

from wepppy.raster_bytes import encode_png
from wepppy.rq.steps.outputs import significant, whole_file, write_features, write_json
from wepppy.rq.steps.state import RunState
from wepppy.terrain.landcover import COVERS
from wepppy.terrain.surface import GROUND, ground_colours

Colour = tuple[int, int, int]
MERCATOR = "EPSG:3857"


def write_map_layers(state: RunState) -> None:
    """Write `map/subcatchments.geojson`, `map/watershed.geojson`, the pictures and `map/layers.json`."""
    folder = state.folder / "map"
    rows = zip(*(values.tolist() for values in state.results.values()), strict=True)
    properties = [significant(dict(zip(state.results, row, strict=True)), 5) for row in rows]
    write_features(folder / "subcatchments.geojson", list(zip(properties, state.outlines, strict=True)))
    inside = (state.subcatchments > 0).reshape(state.grid.shape)
    found = shapes(inside.astype(np.uint8), mask=inside, transform=state.grid.transform)
    whole = {"type": "MultiPolygon", "coordinates": [shape["coordinates"] for shape, _ in found]}
    boundary = transform_geom(state.grid.crs, "EPSG:4326", whole, precision=6)
    outlet = state.summary["outlet"]
    point = {"type": "Point", "coordinates": [outlet["longitude"], outlet["latitude"]]}
    write_features(
        folder / "watershed.geojson", [({"part": "boundary"}, boundary), ({"part": "outlet"}, point)]
    )
    write_json(folder / "layers.json", {"landcover": _land_cover(state), "elevation": _elevation(state)})


def _land_cover(state: RunState) -> dict[str, Any]:
    band = np.where((state.cover > 0) & (state.subcatchments > 0), state.cover, 0).astype(np.uint8)
    found = [cover for code, cover in COVERS.items() if (band == code).any()]
    bounds = _picture(state, "landcover", band, {cover.code: cover.colour for cover in found})
    classes = [{"name": cover.name, "colour": _hex(cover.colour)} for cover in found]
    return {"file": "landcover.png", "bounds": bounds, "classes": classes}


def _elevation(state: RunState) -> dict[str, Any]:
    height = state.elevation.ravel()
    low, high = float(np.nanmin(height)), float(np.nanmax(height))
    steps = 1 + np.rint(254 * (height - low) / ((high - low) or 1.0))
    band = np.where(np.isnan(height), 0, np.nan_to_num(steps)).astype(np.uint8)
    colours = np.rint(ground_colours(np.linspace(0, 1, 255))).astype(int).tolist()
    bounds = _picture(state, "elevation", band, dict(enumerate(map(tuple, colours), start=1)))
    scale = {"low": round(low), "high": round(high), "unit": "m", "colours": [_hex(stop) for stop in GROUND]}
    return {"file": "elevation.png", "bounds": bounds, "scale": scale}


def _picture(
    state: RunState, name: str, band: NDArray[np.uint8], colours: dict[int, Any]
) -> list[list[float]]:
    """Write `map/<name>.png` of a flat band of codes, 0 being transparent; return [[south, west], [north, east]]."""
    grid = state.grid
    warped, transform = reproject(
        band.reshape(1, *grid.shape),
        src_transform=grid.transform,
        src_crs=grid.crs,
        src_nodata=0,
        dst_crs=MERCATOR,
    )
    palette = {0: (0, 0, 0, 0), **{code: (*colour, 255) for code, colour in colours.items()}}
    with whole_file(state.folder / "map" / f"{name}.png") as temporary:
        temporary.write_bytes(encode_png(warped, colours=palette, transform=transform))
    left, bottom, right, top = transform_bounds(
        MERCATOR, "EPSG:4326", *array_bounds(*warped.shape[1:], transform)
    )
    return [[round(bottom, 7), round(left, 7)], [round(top, 7), round(right, 7)]]


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)

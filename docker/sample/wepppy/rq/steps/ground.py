"""What covers the watershed and what lies under it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.vrt import WarpedVRT

from wepppy.rq.steps.outputs import write_table
from wepppy.rq.steps.state import RunError, RunState
from wepppy.terrain.landcover import COVERS, HYDROLOGIC_GROUPS, Soil

COVER_SOURCE = "nlcd/2019/.vrt"
SOIL_SOURCE = "ssurgo/2016/.vrt"


def build_landuse(state: RunState) -> None:
    """Bring the land cover onto the run's grid."""
    state.cover = _on_grid(state, COVER_SOURCE, "land cover")
    band = np.where(state.cover < 0, 0, state.cover).astype(np.uint8)
    colours = {cover.code: cover.colour for cover in COVERS.values()}
    state.grid.write(state.folder / "landuse/landuse.tif", band, 0, "NLCD class", colours=colours)
    shares = _write_shares(state, "landuse", "land cover class", "code", state.cover, COVERS, ("name",))
    state.progress(f"build_landuse: {len(shares)} classes, mostly {max(shares, key=shares.__getitem__)}")


def build_soils(state: RunState) -> None:
    """Bring the soil map onto the run's grid and read the properties of its units."""
    state.soil_keys = _on_grid(state, SOIL_SOURCE, "soils")
    state.soils = _read_soils((state.geodata / SOIL_SOURCE).parent / "soils.csv")
    band = state.soil_keys.astype(np.int32)
    state.grid.write(state.folder / "soils/soils.tif", band, -1, "map unit key")
    columns = ("name", "hydrologic_group", "erodibility")
    shares = _write_shares(state, "soils", "soil map unit", "key", state.soil_keys, state.soils, columns)
    state.progress(f"build_soils: {len(shares)} map units")


def _on_grid(state: RunState, name: str, what: str) -> NDArray[np.int64]:
    """Return the nearest source value of each cell, flat, -1 where there is none."""
    path, grid = state.geodata / name, state.grid
    if not path.exists():
        raise RunError(f"there is no data about {what}; the sample data has not been made yet")
    options = {"crs": grid.crs, "transform": grid.transform, "height": grid.shape[0], "width": grid.shape[1]}
    with rasterio.open(path) as source, WarpedVRT(source, **options) as warped:
        values: NDArray[np.int64] = warped.read(1, masked=True).astype(np.int64).filled(-1).ravel()
    # The watershed may hold cells that the survey missed (holes of the elevation are closed, maps have theirs):
    # they take the class that is most common around them in their subcatchment, as a surveyor would assume.
    gaps = (values < 0) & (state.subcatchments > 0)
    for label in np.unique(state.subcatchments[gaps]):
        here = state.subcatchments == label
        known, counts = np.unique(values[here & (values >= 0)], return_counts=True)
        if not known.size:
            raise RunError(f"a whole subcatchment has no data about {what}")
        values[gaps & here] = known[np.argmax(counts)]
    return values


def _write_shares(
    state: RunState,
    name: str,
    what: str,
    key: str,
    values: NDArray[np.int64],
    known: Mapping[int, Any],
    columns: tuple[str, ...],
) -> dict[str, float]:
    """Write the areas of a map's classes with their properties, and return their shares by name."""
    found, counts = np.unique(values[state.subcatchments > 0], return_counts=True)
    codes = found.tolist()
    if unknown := [code for code in codes if code not in known]:
        raise RunError(f"{what} without properties: {', '.join(map(str, unknown))}")
    properties = {column: [getattr(known[code], column) for code in codes] for column in columns}
    shares = counts / counts.sum()
    areas = {"area_ha": counts * state.grid.cell_area / 1e4, "share": shares}
    write_table(state.folder / name / name, {key: codes, **properties, **areas})
    state.summary[name] = dict(zip(properties["name"], shares.round(4).tolist(), strict=True))
    return state.summary[name]


def _read_soils(path: Path) -> dict[int, Soil]:
    with path.open(newline="", encoding="utf-8") as file:
        soils = [
            Soil(int(row["key"]), row["name"], row["hydrologic_group"], float(row["erodibility"]))
            for row in csv.DictReader(file)
        ]
    if wrong := [soil.name for soil in soils if soil.hydrologic_group not in HYDROLOGIC_GROUPS]:
        raise RunError(f"soils without a hydrologic group of A to D: {', '.join(wrong)}")
    return {soil.key: soil for soil in soils}

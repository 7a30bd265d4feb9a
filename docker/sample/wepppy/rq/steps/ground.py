"""What covers the watershed and what lies under it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from wepppy.rq.steps.outputs import write_raster, write_table
from wepppy.rq.steps.state import RunError, RunState
from wepppy.terrain.landcover import COVERS, HYDROLOGIC_GROUPS, Soil

COVER_SOURCE = "nlcd/2019/.vrt"
SOIL_SOURCE = "ssurgo/2016/.vrt"


def build_landuse(state: RunState) -> None:
    """Bring the land cover onto the run's grid. Cells of an unknown class raise RunError naming it."""
    state.cover, colours = _on_grid(state, state.geodata / COVER_SOURCE, "land cover")
    state.cover_colours = colours or {}
    codes, areas = _areas(state, state.cover)
    unknown = [code for code in codes if code not in COVERS]
    if unknown:
        raise RunError(f"land cover classes without parameters: {', '.join(map(str, unknown))}")
    band = np.where(state.cover < 0, 0, state.cover).astype(np.uint8)
    write_raster(state.folder / "landuse/landuse.tif", band, state.grid, 0, "NLCD class", colours)
    total = sum(areas)
    write_table(
        state.folder / "landuse/landuse",
        {
            "code": codes,
            "name": [COVERS[code].name for code in codes],
            "area_ha": [area / 1e4 for area in areas],
            "share": [area / total for area in areas],
        },
    )
    state.summary["landuse"] = {
        COVERS[code].name: round(area / total, 4) for code, area in zip(codes, areas, strict=True)
    }
    largest = codes[int(np.argmax(areas))]
    state.progress(f"build_landuse: {len(codes)} classes, mostly {COVERS[largest].name}")


def build_soils(state: RunState) -> None:
    """Bring the soil map onto the run's grid and read the properties of its units."""
    source = state.geodata / SOIL_SOURCE
    state.soil_keys, _ = _on_grid(state, source, "soils")
    state.soils = _read_soils(source.parent / "soils.csv")
    keys, areas = _areas(state, state.soil_keys)
    unknown = [key for key in keys if key not in state.soils]
    if unknown:
        raise RunError(f"soil map units without properties: {', '.join(map(str, unknown))}")
    write_raster(
        state.folder / "soils/soils.tif", state.soil_keys.astype(np.int32), state.grid, -1, "map unit key"
    )
    total = sum(areas)
    write_table(
        state.folder / "soils/soils",
        {
            "key": keys,
            "name": [state.soils[key].name for key in keys],
            "hydrologic_group": [state.soils[key].hydrologic_group for key in keys],
            "erodibility": [state.soils[key].erodibility for key in keys],
            "area_ha": [area / 1e4 for area in areas],
            "share": [area / total for area in areas],
        },
    )
    state.summary["soils"] = {
        state.soils[key].name: round(area / total, 4) for key, area in zip(keys, areas, strict=True)
    }
    state.progress(f"build_soils: {len(keys)} map units")


def _on_grid(
    state: RunState, path: Path, what: str
) -> tuple[NDArray[np.int64], dict[int, tuple[int, int, int]] | None]:
    """Return the nearest source value of each cell, flat, -1 where there is none, and the source's colours."""
    if not path.exists():
        raise RunError(f"there is no data about {what}; the sample data has not been made yet")
    with (
        rasterio.open(path) as source,
        WarpedVRT(
            source,
            crs=state.grid.crs,
            transform=state.grid.transform,
            height=state.grid.shape[0],
            width=state.grid.shape[1],
            resampling=Resampling.nearest,
        ) as warped,
    ):
        band = warped.read(1, masked=True)
        try:
            colours = {code: colour[:3] for code, colour in source.colormap(1).items() if any(colour[:3])}
        except ValueError:
            colours = None  # a raster without a colour table
    values = np.ma.filled(band.astype(np.int64), -1).ravel()
    return _fill_gaps(values, state), colours


def _fill_gaps(values: NDArray[np.int64], state: RunState) -> NDArray[np.int64]:
    # The watershed may hold cells that the survey missed (holes of the elevation are closed, maps have theirs):
    # they take the class that is most common around them in their subcatchment, as a surveyor would assume.
    gaps = (values < 0) & (state.subcatchments > 0)
    if not gaps.any():
        return values
    values = values.copy()
    for label in np.unique(state.subcatchments[gaps]):
        here = (state.subcatchments == label) & (values >= 0)
        known, counts = np.unique(values[here], return_counts=True)
        if not known.size:
            raise RunError("a whole subcatchment has no land cover or soil data")
        values[gaps & (state.subcatchments == label)] = known[np.argmax(counts)]
    return values


def _areas(state: RunState, values: NDArray[np.int64]) -> tuple[list[int], list[float]]:
    codes, counts = np.unique(values[state.subcatchments > 0], return_counts=True)
    return codes.tolist(), (counts * state.grid.cell_area).tolist()


def _read_soils(path: Path) -> dict[int, Soil]:
    with path.open(newline="", encoding="utf-8") as file:
        soils = {
            int(row["key"]): Soil(
                int(row["key"]), row["name"], row["hydrologic_group"], float(row["erodibility"])
            )
            for row in csv.DictReader(file)
        }
    wrong = [soil.name for soil in soils.values() if soil.hydrologic_group not in HYDROLOGIC_GROUPS]
    if wrong:
        raise RunError(f"soils without a hydrologic group of A to D: {', '.join(wrong)}")
    return soils

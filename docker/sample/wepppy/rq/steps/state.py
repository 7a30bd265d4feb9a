"""What the steps of one run hand on to each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform as transform_points

from wepppy.geotiff import write_geotiff
from wepppy.rq.project import Project
from wepppy.rq.steps.outputs import whole_file
from wepppy.terrain.channels import Link
from wepppy.terrain.flow import Floats, Indices, Mask
from wepppy.terrain.landcover import Soil
from wepppy.terrain.water_balance import Balance


class RunError(Exception):
    """The run can't be computed for a reason that its owner can understand and fix."""


@dataclass(frozen=True)
class Grid:
    """Where the cells of a run's rasters lie: north up, metres."""

    transform: Affine
    crs: CRS
    shape: tuple[int, int]

    @property
    def cell_size(self) -> float:
        """Metres per side of a cell."""
        return float(self.transform.a)

    @property
    def cell_area(self) -> float:
        """Square metres per cell."""
        return self.cell_size**2

    def write(
        self, path: Path, values: NDArray[Any], nodata: float, description: str = "", **options: Any
    ) -> None:
        """Write a one-band GeoTIFF, of the array's own type but of float32 for other floats; NaN becomes `nodata`."""
        band = values.reshape(self.shape)
        if np.issubdtype(values.dtype, np.floating):
            band = np.where(np.isnan(band), nodata, band).astype(np.float32)
        with whole_file(path) as temporary:
            write_geotiff(
                temporary, band, self.transform, self.crs, nodata, description=description, **options
            )

    def lonlat(self, rows: NDArray[Any], columns: NDArray[Any]) -> tuple[Floats, Floats]:
        """Return the longitudes and latitudes of cells' centres."""
        x, y = self.transform @ (columns + 0.5, rows + 0.5)
        longitudes, latitudes = transform_points(self.crs, "EPSG:4326", x, y)
        return np.asarray(longitudes), np.asarray(latitudes)


@dataclass
class RunState:
    """Filled step by step; a field is set by the step named in its group's comment. Rasters are flat."""

    folder: Path
    geodata: Path
    project: Project
    progress: Callable[[str], None]
    summary: dict[str, Any] = field(default_factory=dict)

    # fetch_dem
    grid: Grid = field(init=False)
    elevation: Floats = field(init=False)  # [row, column]
    # build_channels
    filled: Floats = field(init=False)  # [row, column]
    downstream: Indices = field(init=False)
    order: list[int] = field(init=False)
    contributing: Floats = field(init=False)
    slope: Floats = field(init=False)
    aspect: Floats = field(init=False)
    # set_outlet
    outlet: int = field(init=False)
    # build_subcatchments
    links: list[Link] = field(init=False)
    channel: Mask = field(init=False)
    subcatchments: NDArray[np.int32] = field(init=False)
    # abstract_watershed: [subcatchment]
    longitudes: Floats = field(init=False)
    latitudes: Floats = field(init=False)
    areas: Floats = field(init=False)
    outlines: list[dict[str, Any]] = field(init=False)  # GeoJSON in WGS 84
    # build_landuse, build_soils
    cover: NDArray[np.int64] = field(init=False)
    soil_keys: NDArray[np.int64] = field(init=False)
    soils: dict[int, Soil] = field(init=False)
    # build_climate: [subcatchment, day], mm and degrees C
    precipitation: Floats = field(init=False)
    lowest: Floats = field(init=False)
    highest: Floats = field(init=False)
    dates: list[str] = field(init=False)
    # run_wepp_hillslopes: [subcatchment, day] in mm, [subcatchment, day] in m3/s
    balance: Balance = field(init=False)
    peaks: Floats = field(init=False)
    # run_wepp_hillslopes, run_wepp_watershed, build_rusle: columns of the table of subcatchments
    results: dict[str, Any] = field(init=False)

    @property
    def numbers(self) -> list[int]:
        """The subcatchments' numbers, which are those of their channel links."""
        return [link.number for link in self.links]

    def means(self, values: Floats, where: Mask | None = None) -> Floats:
        """Return the mean of a raster over each subcatchment, or of its cells `where`; NaN without a value."""
        use = (self.subcatchments > 0) & np.isfinite(values)
        if where is not None:
            use &= where
        labels = self.subcatchments[use]
        count = np.bincount(labels, minlength=len(self.links) + 1)[1:]
        total = np.bincount(labels, weights=values[use], minlength=len(self.links) + 1)[1:]
        return np.divide(total, count, out=np.full(count.size, np.nan), where=count > 0)

"""Cells of a shared raster, warped onto a grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import reproject

from wepppy.raster_bytes import Colours
from wepppy.webservices.raster_grid import Grid

RESAMPLINGS = {
    "near": Resampling.nearest,
    "bilinear": Resampling.bilinear,
    "cubic": Resampling.cubic,
    "cubicspline": Resampling.cubic_spline,
    "lanczos": Resampling.lanczos,
    "average": Resampling.average,
    "rms": Resampling.rms,
    "mode": Resampling.mode,
    "max": Resampling.max,
    "min": Resampling.min,
    "med": Resampling.med,
    "q1": Resampling.q1,
    "q3": Resampling.q3,
    "sum": Resampling.sum,
}
MAX_BYTES = 128 * 2**20
_WARP_MEGABYTES = 64


class CropError(Exception):
    """A crop that this raster can't give."""


@dataclass
class Crop:
    """`values` are [band, row, column] on `grid`; cells equal to `nodata` hold no data."""

    grid: Grid
    values: NDArray[np.generic]
    nodata: float | None
    resampling: str
    colours: Colours | None = None

    @property
    def empty(self) -> NDArray[np.bool_]:
        """True for cells without data, [band, row, column]."""
        floating = np.issubdtype(self.values.dtype, np.floating)
        empty = np.isnan(self.values) if floating else np.zeros(self.values.shape, dtype=bool)
        if self.nodata is not None and not np.isnan(self.nodata):
            empty |= self.values == np.asarray(self.nodata).astype(self.values.dtype)
        return empty


def crop(path: Path, grid: Grid, resampling: str | None) -> Crop:
    """Return all bands of a raster on a grid.

    `resampling` is one of RESAMPLINGS; without it measurements (floating point) are interpolated linearly and
    codes are taken from the nearest cell. Cells beyond the raster have no data. Raises CropError.
    """
    try:
        with rasterio.open(path) as dataset:
            kind = np.dtype(dataset.dtypes[0])
            if dataset.crs is None or kind.kind not in "iuf":
                raise CropError("The dataset can't be warped.")
            if dataset.count * grid.width * grid.height * kind.itemsize > MAX_BYTES:
                raise CropError("The dataset has too many bands for an output of this size.")
            name = resampling or ("bilinear" if kind.kind == "f" else "near")
            values = np.zeros((dataset.count, grid.height, grid.width), dtype=kind)
            reproject(
                rasterio.band(dataset, list(range(1, dataset.count + 1))),
                values,
                dst_transform=grid.transform,
                dst_crs=CRS.from_user_input(grid.crs),
                dst_nodata=dataset.nodata,
                resampling=RESAMPLINGS[name],
                warp_mem_limit=_WARP_MEGABYTES,
            )
            # The colours of a palette fit codes that were picked; a mixture of codes is another code.
            keeps_codes = name in ("near", "mode", "min", "max", "med", "q1", "q3")
            colours = dataset.colormap(1) if keeps_codes and _has_palette(dataset) else None
            return Crop(grid, values, dataset.nodata, name, colours)
    except (RasterioError, CRSError, OSError, ValueError) as error:
        raise CropError("The dataset can't be warped.") from error


def _has_palette(dataset: rasterio.DatasetReader) -> bool:
    return bool(dataset.count == 1 and dataset.colorinterp[0] == ColorInterp.palette)

"""GeoTIFFs as all of the sample's rasters are: tiled, and packed in a way that GDAL reads everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS


def write_geotiff(
    path: Path,
    values: NDArray[Any],
    transform: Affine,
    crs: CRS,
    nodata: float,
    colours: dict[int, tuple[int, int, int]] | None = None,
    description: str = "",
) -> None:
    """Write a GeoTIFF of the array's own type: one band, or several where it is [band, row, column]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = values.reshape(-1, *values.shape[-2:])
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=bands.shape[1],
        width=bands.shape[2],
        count=len(bands),
        dtype=values.dtype,
        crs=crs,
        transform=transform,
        nodata=nodata,
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        predictor=3 if np.issubdtype(values.dtype, np.floating) else 2,
    ) as dataset:
        if colours:
            dataset.write_colormap(1, {code: (*colour, 255) for code, colour in colours.items()})
        dataset.write(bands)
        if description:
            dataset.set_band_description(1, description)

"""A raster as the bytes of a PNG, made in memory so that nothing is left behind."""

from __future__ import annotations

from typing import Any

import rasterio
from numpy.typing import NDArray
from rasterio.io import MemoryFile

Colours = dict[int, tuple[int, int, int, int]]


def encode_png(
    values: NDArray[Any], *, nodata: float | None = None, colours: Colours | None = None, **options: Any
) -> bytes:
    """Return values [band, row, column] as a picture; `options` are the driver's, crs and transform."""
    count, height, width = values.shape
    # Without PAM there are no `.aux.xml` files beside the one that is read back.
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), MemoryFile(ext=".png") as memory:
        shape = {"count": count, "height": height, "width": width, "dtype": values.dtype, "nodata": nodata}
        with memory.open(driver="PNG", **shape, **options) as dataset:
            dataset.write(values)
            if colours:
                dataset.write_colormap(1, colours)
        content: bytes = memory.read()
        return content

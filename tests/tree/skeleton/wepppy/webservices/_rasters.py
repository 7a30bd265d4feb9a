"""Windows of the rasters below /geodata."""

from __future__ import annotations

import os
from pathlib import Path

import rasterio
from rasterio.windows import from_bounds


def source(dataset: str) -> Path:
    """Return the raster of a dataset like `ned1/2016`; raise LookupError when there is none."""
    root = Path(os.environ.get("GEODATA_DIR") or "/geodata").resolve()
    file = (root / dataset / ".vrt").resolve()
    if not file.is_relative_to(root) or not file.is_file():
        raise LookupError(f"Cannot find dataset: {dataset}")
    return file


def crop(dataset: str, bbox: str) -> bytes:
    """Return the part of a dataset in `left,bottom,right,top` as GeoTIFF; raise ValueError for a bad box."""
    bounds = [float(part) for part in bbox.split(",")]
    if len(bounds) != 4 or bounds[0] >= bounds[2] or bounds[1] >= bounds[3]:
        raise ValueError(f"not a bounding box: {bbox}")
    with rasterio.open(source(dataset)) as raster:
        window = from_bounds(*bounds, transform=raster.transform).round_offsets().round_lengths()
        data = raster.read(1, window=window, boundless=True, fill_value=raster.nodata or 0)
        profile = {
            **raster.profile,
            "driver": "GTiff",
            "height": data.shape[0],
            "width": data.shape[1],
            "count": 1,
        }
        profile["transform"] = raster.window_transform(window)
        for name in ("blockxsize", "blockysize", "tiled"):
            profile.pop(name, None)
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(data, 1)
        return bytes(memory.read())

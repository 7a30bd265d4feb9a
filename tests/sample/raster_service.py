"""Questions to the raster service, and the small geodata they are about."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from asgi import Reply, call
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile
from rasters import HEIGHT, NODATA, WIDTH, elevations, strict_json, write_raster, write_vrt
from wepppy.webservices.wmesque2 import app

BOX = "-116.888,46.845,-116.835,46.868"
PALETTE = {11: (70, 107, 159, 255), 42: (28, 95, 44, 255), 71: (223, 223, 194, 255)}


def make_geodata(folder: Path) -> Path:
    """Write elevation, land cover with a palette, and twelve months in degrees."""
    rng = np.random.default_rng(8)
    z = elevations()
    write_vrt(write_raster(folder / "ned1/2016/dem.tif", np.where(np.isnan(z), 900, z).astype(np.float32)))
    cover = rng.choice([11, 42, 71], size=(HEIGHT, WIDTH)).astype(np.uint8)
    cover[:8] = 0
    write_vrt(write_raster(folder / "nlcd/2019/cover.tif", cover, nodata=0, palette=PALETTE))
    degrees = Affine(0.01, 0, -117, 0, -0.01, 47)
    months = rng.normal(size=(12, 30, 30)).astype(np.float32)
    months[:, 13, 13] = NODATA
    write_vrt(
        *(
            write_raster(folder / f"daymet/monthly/ppt/{i + 1:02}.tif", months[i], degrees, "EPSG:4326")
            for i in range(12)
        )
    )
    return folder


def meta_of(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the description of the raster in the reply's header."""
    text = headers["wmesque-meta"]
    meta: dict[str, Any] = strict_json(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))["wmesque"]
    return meta


def get(dataset: str = "ned1/2016", **query: object) -> Reply:
    """Ask for a crop."""
    return call(app, "GET", f"/retrieve/{dataset}", {"bbox": BOX, **query})


def pixels(content: bytes) -> tuple[np.ndarray, dict[str, Any]]:
    with warnings.catch_warnings(), MemoryFile(content) as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # pictures lie nowhere
        with memory.open() as dataset:
            return dataset.read(), dict(dataset.profile)

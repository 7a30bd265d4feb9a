"""One crop from request to file, made by GDAL: what both raster services do, whatever the shape of their errors."""

from __future__ import annotations

import base64
import json
import math
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import rasterio
import rasterio.shutil
from pydantic import BaseModel, Field
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject

from wepppy.raster_bytes import encode_png
from wepppy.webservices.bounded_work import BoundedWork
from wepppy.webservices.raster_crs import WGS84, crs_name
from wepppy.webservices.raster_dataset import find_dataset
from wepppy.webservices.raster_grid import Grid, make_grid, parse_box, transform_box
from wepppy.webservices.refusals import Refusal

ELEVATION_DATASETS = "ned1"
_RASTERIO_NAMES = {"near": "nearest", "cubicspline": "cubic_spline"}
# Name: media type, suffix, GDAL's options.
_FORMATS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "GTiff": (
        "image/tiff",
        ".tif",
        {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "zlevel": 1},
    ),
    "AAIGrid": ("text/plain", ".asc", {}),
    "PNG": ("image/png", ".png", {"zlevel": 1}),
    "ENVI": ("application/octet-stream", ".raw", {}),
}
_LARGE = 1024 * 1024  # cells
_MOST_BYTES = 128 * 2**20
_WARP_MEGABYTES = 64
# A crop of the largest size takes some hundred megabytes while it is made: one at a time, beside two small ones.
_large_turns = BoundedWork(1, 4)
_small_turns = BoundedWork(2, 16)


class Retrieval(BaseModel):
    """The parameters of a request, as the query string names them."""

    bbox: str = Field(description="left,bottom,right,top in degrees of WGS84 or units of bbox_crs")
    bbox_crs: str | None = Field(None, description="a projected reference system")
    cellsize: float = Field(30.0, gt=0, allow_inf_nan=False, description="metres, or units of bbox_crs")
    resample: Literal[
        "near", "bilinear", "cubic", "cubicspline", "lanczos", "average", "rms",
        "mode", "max", "min", "med", "q1", "q3", "sum",
    ] | None = Field(None, description="bilinear for measurements, near for codes")  # fmt: skip
    format: Literal["GTiff", "AAIGrid", "PNG", "ENVI"] = "GTiff"
    gdaldem: Literal["hillshade", "slope", "aspect", "tri", "tpi", "roughness"] | None = Field(
        None, description="a measure of relief instead of the elevation"
    )


def retrieve(dataset: str, wanted: Retrieval) -> tuple[bytes, str, dict[str, str]]:
    """Return the requested crop as a file, its media type and its headers. Raises Refusal."""
    name = "/".join(part for part in dataset.split("/") if part)
    if wanted.gdaldem and name.split("/")[0] != ELEVATION_DATASETS:
        raise Refusal(f"gdaldem needs a dataset of elevations: {ELEVATION_DATASETS}")
    path = find_dataset(name)
    grid = make_grid(wanted.bbox, wanted.bbox_crs, wanted.cellsize)
    turns = _large_turns if grid.width * grid.height > _LARGE else _small_turns
    try:
        with turns, TemporaryDirectory(prefix="crop-") as folder:
            content, meta = _make(wanted, path, grid, Path(folder))
    except (RasterioError, CPLE_BaseError, ValueError) as error:
        raise Refusal("The dataset can't be warped.") from error
    media_type, suffix, _ = _FORMATS[wanted.format]
    description = json.dumps({"wmesque": {"dataset": name, **meta}}, separators=(",", ":"))
    encoded = base64.urlsafe_b64encode(description.encode("ascii")).decode("ascii").rstrip("=")
    headers = {
        "Content-Disposition": f"attachment; filename={name.replace('/', '_')}{suffix}",
        "WMesque-Meta": encoded,
        "Access-Control-Expose-Headers": "WMesque-Meta",
    }
    return content, media_type, headers


def _make(wanted: Retrieval, path: Path, grid: Grid, folder: Path) -> tuple[bytes, dict[str, Any]]:
    """Return the file and its description. Without `resample` codes are picked and measurements interpolated."""
    warped = folder / "warped.tif"
    with rasterio.open(path) as source:
        kind = np.dtype(source.dtypes[0])
        if source.count * grid.width * grid.height * kind.itemsize > _MOST_BYTES:
            raise Refusal("The dataset has too many bands for an output of this size.")
        resample = wanted.resample or ("bilinear" if kind.kind == "f" else "near")
        bands = list(range(1, source.count + 1))
        profile = {"count": source.count, "dtype": kind, "nodata": source.nodata, **grid._asdict()}
        with rasterio.open(warped, "w", driver="GTiff", **profile) as crop:
            if source.colorinterp == (ColorInterp.palette,):
                crop.write_colormap(1, source.colormap(1))
            reproject(
                rasterio.band(source, bands),
                rasterio.band(crop, bands),
                resampling=Resampling[_RASTERIO_NAMES.get(resample, resample)],
                warp_mem_limit=_WARP_MEGABYTES,
            )
    with rasterio.open(_relief(warped, wanted.gdaldem) if wanted.gdaldem else warped) as made:
        content, notes = _encode(made, wanted.format, folder)
        bounds = tuple(made.bounds)
        meta = {
            "bbox": parse_box(wanted.bbox),
            "cellsize": wanted.cellsize,
            "resample": resample,
            "format": wanted.format,
            "gdaldem": wanted.gdaldem,
            "crs": crs_name(grid.crs),
            "bounds": bounds,
            "wgs84_bounds": transform_box(grid.crs, WGS84, bounds),
            "width": made.width,
            "height": made.height,
            "bands": made.count,
            "dtype": made.dtypes[0],
            "nodata": None if made.nodata is None or math.isnan(made.nodata) else made.nodata,
            **notes,
        }
    return content, meta


def _relief(elevations: Path, mode: str) -> str:
    """Return what opens as `gdal raster MODE` of a file: https://gdal.org/en/stable/drivers/raster/gdalg.html."""
    line = f"gdal raster {mode} --output-format=stream {elevations} streamed_dataset"
    return json.dumps({"type": "gdal_streamed_alg", "command_line": line})


def _encode(made: rasterio.DatasetReader, file_format: str, folder: Path) -> tuple[bytes, dict[str, Any]]:
    """Return the file, and what is to be known about it beside it."""
    _, suffix, options = _FORMATS[file_format]
    kind = np.dtype(made.dtypes[0])
    if file_format == "PNG" and made.count == 1 and kind != np.uint8:
        return _grey(made)
    if file_format in ("PNG", "AAIGrid") and made.count != 1:
        raise Refusal(f"{file_format} holds one band only")
    if file_format == "GTiff" and kind.itemsize < 8:
        options = {**options, "predictor": 3 if kind.kind == "f" else 2}
    elif file_format == "AAIGrid" and kind.kind == "f":
        options = {"significant_digits": 9 if kind.itemsize <= 4 else 17}
    target = folder / f"crop{suffix}"
    rasterio.shutil.copy(made, target, driver=file_format, **options)
    notes = {}
    if file_format == "ENVI":
        # Without the description, which is where the file was made.
        header = target.with_suffix(".hdr").read_text("ascii")
        notes["hdr"] = re.sub(r"description = \{.*?\}\n", "", header, count=1, flags=re.DOTALL)
    return target.read_bytes(), notes


def _grey(made: rasterio.DatasetReader) -> tuple[bytes, dict[str, Any]]:
    """Return measurements as a picture from 1 (black) to 255 (white), 0 without data, and what 1 and 255 stand for."""
    values = np.ma.masked_invalid(made.read(1, masked=True))
    low, high = (float(values.min()), float(values.max())) if values.count() else (0.0, 0.0)
    shades = np.rint((values - low) * (254 / ((high - low) or 1.0)) + 1)
    content = encode_png(shades.filled(0).astype(np.uint8)[np.newaxis], nodata=0, ZLEVEL=1)
    scale = {"first": 1, "last": 255, "minimum": low, "maximum": high} if values.count() else None
    return content, {"scale": scale}

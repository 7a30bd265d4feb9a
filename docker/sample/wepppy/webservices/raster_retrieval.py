"""One crop from request to file, made by GDAL: what both raster services do, whatever the shape of their errors."""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import numpy as np
import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject

from wepppy.raster_bytes import encode_raster
from wepppy.terrain.surface import GROUND
from wepppy.webservices.bounded_work import RETRY_AFTER_SECONDS, BoundedWork, BusyError
from wepppy.webservices.raster_crs import WGS84, crs_name
from wepppy.webservices.raster_dataset import DatasetMissingError, DatasetPathError, find_dataset
from wepppy.webservices.raster_grid import Grid, GridError, make_grid, parse_box, transform_box

CELLSIZE = 30.0
ELEVATION_DATASETS = "ned1"
Resample = Literal[
    "near", "bilinear", "cubic", "cubicspline", "lanczos", "average", "rms",
    "mode", "max", "min", "med", "q1", "q3", "sum",
]  # fmt: skip
Format = Literal["GTiff", "AAIGrid", "PNG", "ENVI"]
Mode = Literal["hillshade", "slope", "aspect", "tri", "tpi", "roughness", "color-relief"]
_CHOICES = {"format": get_args(Format), "resample": get_args(Resample), "gdaldem": get_args(Mode)}
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


class RetrievalError(Exception):
    """A crop that can't be given: HTTP status (503: not now), message, and headers of the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else {}


@dataclass(frozen=True)
class Retrieval:
    """The parameters of a request; the names are those of the query string."""

    dataset: str
    bbox: str
    bbox_crs: str | None = None
    cellsize: float = CELLSIZE
    resample: str | None = None
    format: str = "GTiff"
    gdaldem: str | None = None


def retrieve(request: Retrieval) -> tuple[bytes, str, dict[str, str]]:
    """Return the requested crop as a file, its media type and its headers. Raises RetrievalError."""
    for name, known in _CHOICES.items():
        value = getattr(request, name)
        if value is not None and value not in known:
            raise RetrievalError(400, f"Unknown {name}. Expecting one of: {', '.join(known)}")
    name = "/".join(part for part in request.dataset.split("/") if part)
    if request.gdaldem and name.split("/")[0] != ELEVATION_DATASETS:
        raise RetrievalError(400, f"gdaldem needs a dataset of elevations: {ELEVATION_DATASETS}")
    try:
        path = find_dataset(name)
        grid = make_grid(request.bbox, request.bbox_crs, request.cellsize)
        with (
            _large_turns if grid.width * grid.height > _LARGE else _small_turns,
            TemporaryDirectory(prefix="crop-") as folder,
        ):
            content, meta = _make(request, path, grid, Path(folder))
    except (DatasetPathError, GridError) as error:
        raise RetrievalError(400, str(error)) from error
    except DatasetMissingError as error:
        raise RetrievalError(404, str(error)) from error
    except BusyError as error:
        raise RetrievalError(503, str(error)) from error
    except (RasterioError, CPLE_BaseError, ValueError) as error:
        raise RetrievalError(400, "The dataset can't be warped.") from error
    media_type, suffix, _ = _FORMATS[request.format]
    description = json.dumps({"wmesque": {"dataset": name, **meta}}, separators=(",", ":"))
    encoded = base64.urlsafe_b64encode(description.encode("ascii")).decode("ascii").rstrip("=")
    headers = {
        "Content-Disposition": f"attachment; filename={name.replace('/', '_')}{suffix}",
        "WMesque-Meta": encoded,
        "Access-Control-Expose-Headers": "WMesque-Meta",
    }
    return content, media_type, headers


def _make(request: Retrieval, path: Path, grid: Grid, folder: Path) -> tuple[bytes, dict[str, Any]]:
    """Return the file and its description. Without `resample` codes are picked and measurements interpolated."""
    warped = folder / "warped.tif"
    with rasterio.open(path) as source:
        kind = np.dtype(source.dtypes[0])
        if source.count * grid.width * grid.height * kind.itemsize > _MOST_BYTES:
            raise RetrievalError(400, "The dataset has too many bands for an output of this size.")
        resample = request.resample or ("bilinear" if kind.kind == "f" else "near")
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
    with rasterio.open(_relief(warped, request.gdaldem) if request.gdaldem else warped) as made:
        content, notes = _encode(made, request.format, folder)
        bounds = tuple(made.bounds)
        meta = {
            "bbox": parse_box(request.bbox),
            "cellsize": request.cellsize,
            "resample": resample,
            "format": request.format,
            "gdaldem": request.gdaldem,
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
    command = mode
    if mode == "color-relief":
        # By height within the crop's own relief, transparent without data.
        shares = np.linspace(0, 100, len(GROUND))
        stops = [f"{share}% {r} {g} {b} 255" for share, (r, g, b) in zip(shares, GROUND, strict=True)]
        colours = elevations.with_name("colours.txt")
        colours.write_text("\n".join([*stops, "nv 0 0 0 0"]))
        command = f"color-map --add-alpha --color-map={colours}"
    line = f"gdal raster {command} --output-format=stream {elevations} streamed_dataset"
    return json.dumps({"type": "gdal_streamed_alg", "command_line": line})


def _encode(made: rasterio.DatasetReader, file_format: str, folder: Path) -> tuple[bytes, dict[str, Any]]:
    """Return the file, and what is to be known about it beside it."""
    _, suffix, options = _FORMATS[file_format]
    kind = np.dtype(made.dtypes[0])
    if file_format == "PNG" and made.count == 1 and kind != np.uint8:
        return _grey(made)
    if made.count not in {"PNG": (1, 4), "AAIGrid": (1,)}.get(file_format, (made.count,)):
        raise RetrievalError(400, f"{file_format} holds one band only")
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
    content = encode_raster("PNG", ".png", shades.filled(0).astype(np.uint8)[np.newaxis], {"ZLEVEL": 1}, 0)
    scale = {"first": 1, "last": 255, "minimum": low, "maximum": high} if values.count() else None
    return content, {"scale": scale}

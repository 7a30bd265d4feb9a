"""One crop from request to file: what both raster services do, whatever the shape of their errors."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from wepppy.webservices import raster_shading
from wepppy.webservices.raster_crop import RESAMPLINGS, Crop, CropError, crop
from wepppy.webservices.raster_crs import crs_name
from wepppy.webservices.raster_dataset import DatasetMissingError, DatasetPathError, find_dataset
from wepppy.webservices.raster_encoding import FORMATS, Encoded, EncodingError, encode
from wepppy.webservices.raster_grid import GridError, make_grid

CELLSIZE = 30.0
ELEVATION_DATASETS = "ned1"
_LARGE = 1024 * 1024  # cells
RETRY_AFTER_SECONDS = 5


class _Turns:
    """Let so many threads work at a time and so many wait; refuse more."""

    def __init__(self, working: int, waiting: int) -> None:
        self._places = threading.BoundedSemaphore(working + waiting)
        self._turn = threading.BoundedSemaphore(working)

    def __enter__(self) -> None:
        if not self._places.acquire(blocking=False):
            raise RetrievalError(503, "The service is busy. Try again in a moment.")
        self._turn.acquire()

    def __exit__(self, *_: object) -> None:
        self._turn.release()
        self._places.release()


# A crop of the largest size takes some hundred megabytes while it is made: one at a time, beside two small ones.
_large_turns = _Turns(1, 4)
_small_turns = _Turns(2, 16)


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


@dataclass(frozen=True)
class Retrieved:
    """The file, and the headers that go with it."""

    content: bytes
    media_type: str
    headers: dict[str, str]


def retrieve(request: Retrieval) -> Retrieved:
    """Return the requested crop. Raises RetrievalError."""
    for name, known in (("format", FORMATS), ("resample", RESAMPLINGS), ("gdaldem", raster_shading.MODES)):
        value = getattr(request, name)
        if value is not None and value not in known:
            raise RetrievalError(400, f"Unknown {name}. Expecting one of: {', '.join(known)}")
    name = "/".join(part for part in request.dataset.split("/") if part)
    if request.gdaldem and name.split("/")[0] != ELEVATION_DATASETS:
        raise RetrievalError(400, f"gdaldem needs a dataset of elevations: {ELEVATION_DATASETS}")
    try:
        path = find_dataset(name)
        grid = make_grid(request.bbox, request.bbox_crs, request.cellsize)
        with _large_turns if grid.width * grid.height > _LARGE else _small_turns:
            if request.gdaldem:
                made = _shade(crop(path, grid.widened(), request.resample), request.gdaldem)
            else:
                made = crop(path, grid, request.resample)
            encoded = encode(made, request.format)
    except (DatasetPathError, GridError, CropError, EncodingError) as error:
        raise RetrievalError(400, str(error)) from error
    except DatasetMissingError as error:
        raise RetrievalError(404, str(error)) from error
    file_name = name.replace("/", "_") + encoded.suffix
    headers = {
        "Content-Disposition": f"attachment; filename={file_name}",
        "WMesque-Meta": _base64(_describe(request, name, made, encoded)),
        "Access-Control-Expose-Headers": "WMesque-Meta",
    }
    return Retrieved(encoded.content, encoded.media_type, headers)


def _shade(wide: Crop, mode: str) -> Crop:
    """Return the relief of a crop that has one more cell on each side than requested."""
    values, empty, outer = wide.values[0], wide.empty[0], wide.grid
    left, top = outer.left + outer.cellsize, outer.top - outer.cellsize
    inner = type(outer)(outer.crs, left, top, outer.cellsize, outer.width - 2, outer.height - 2)
    if mode == "color-relief":
        return Crop(inner, raster_shading.tint(values[1:-1, 1:-1], empty[1:-1, 1:-1]), None, wide.resampling)
    relief, nodata = raster_shading.measure(mode, values.astype(np.float32), empty, outer.cell_metres)
    return Crop(inner, relief[np.newaxis], nodata, wide.resampling)


def _describe(request: Retrieval, name: str, made: Crop, encoded: Encoded) -> dict[str, Any]:
    grid = made.grid
    nodata = None if made.nodata is None or np.isnan(made.nodata) else made.nodata
    return {
        "wmesque": {
            "dataset": name,
            "bbox": [float(part) for part in request.bbox.split(",")],
            "cellsize": grid.cellsize,
            "resample": made.resampling,
            "format": request.format,
            "gdaldem": request.gdaldem,
            "crs": crs_name(grid.crs),
            "bounds": grid.bounds,
            "wgs84_bounds": grid.wgs84_bounds,
            "width": grid.width,
            "height": grid.height,
            "bands": len(made.values),
            "dtype": made.values.dtype.name,
            "nodata": nodata,
            **encoded.notes,
        }
    }


def _base64(value: dict[str, Any]) -> str:
    text = json.dumps(value, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode("ascii")).decode("ascii").rstrip("=")

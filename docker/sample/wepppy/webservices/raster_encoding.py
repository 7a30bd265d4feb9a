"""Rasters as bytes: the output formats, made in memory so that nothing is left behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from wepppy.raster_bytes import encode_raster
from wepppy.webservices.raster_crop import Crop

# For formats that need a nodata value where the raster has none.
NODATA = -9999
# ENVI's codes of data types: https://www.nv5geospatialsoftware.com/docs/enviheaderfiles.html
_ENVI_TYPES = {
    "uint8": 1, "int16": 2, "int32": 3, "float32": 4, "float64": 5,
    "uint16": 12, "uint32": 13, "int64": 14, "uint64": 15,
}  # fmt: skip


class EncodingError(ValueError):
    """A raster that the format can't hold."""


@dataclass(frozen=True)
class Encoded:
    """A file: its bytes, media type and suffix; `notes` go into the metadata."""

    content: bytes
    media_type: str
    suffix: str
    notes: dict[str, Any]


def encode(crop: Crop, file_format: str) -> Encoded:
    """Return the crop as a file of one of FORMATS. Raises EncodingError."""
    return FORMATS[file_format](crop)


def _geotiff(crop: Crop) -> Encoded:
    options: dict[str, Any] = {
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "zlevel": 1,
    }
    if crop.values.dtype.itemsize < 8:
        options["predictor"] = 3 if crop.values.dtype.kind == "f" else 2
    profile = {"crs": CRS.from_user_input(crop.grid.crs), "transform": crop.grid.transform, **options}
    content = encode_raster("GTiff", ".tif", crop.values, profile, crop.nodata, crop.colours)
    return Encoded(content, "image/tiff", ".tif", {})


def _ascii_grid(crop: Crop) -> Encoded:
    """Write Esri's text raster: six lines of header, then a line of numbers per row."""
    if len(crop.values) != 1:
        raise EncodingError("AAIGrid holds one band only")
    # Written here and row by row: 4096 x 4096 cells took 261 MB and 20 s, by GDAL's driver 416 MB and 29 s.
    values, empty, grid = crop.values[0], crop.empty[0], crop.grid
    floating = values.dtype.kind == "f"
    nodata = crop.nodata if crop.nodata is not None and np.isfinite(crop.nodata) else NODATA
    # A reader takes the cells for whole numbers unless this one has a point.
    missing = repr(float(nodata)) if floating else str(int(nodata))
    left, bottom = grid.bounds[:2]
    lines = bytearray(
        f"ncols {grid.width}\nnrows {grid.height}\nxllcorner {left!r}\nyllcorner {bottom!r}\n"
        f"cellsize {grid.cellsize!r}\nNODATA_value {missing}\n".encode("ascii")
    )
    digits = "%.9g" if values.dtype.itemsize <= 4 else "%.17g"
    for row, absent in zip(values, empty, strict=True):
        numbers = [digits % value for value in row.tolist()] if floating else list(map(str, row.tolist()))
        for column in np.flatnonzero(absent).tolist():
            numbers[column] = missing
        lines += " ".join(numbers).encode("ascii") + b"\n"
    return Encoded(bytes(lines), "text/plain", ".asc", {})


def _png(crop: Crop) -> Encoded:
    """Encode a picture for browsers: eight bits, transparent without data; measurements span black to white."""
    notes: dict[str, Any] = {}
    values, nodata, colours = crop.values, crop.nodata, None
    if len(values) == 1:
        if values.dtype != np.uint8:
            values, notes["scale"] = _stretch(values, crop.empty)
            nodata = 0
        elif crop.colours:
            colours = {
                code: (*colour[:3], 0 if code == nodata else 255) for code, colour in crop.colours.items()
            }
            nodata = None
    elif len(values) != 4 or values.dtype != np.uint8:
        raise EncodingError("PNG holds one band only")
    # Transparency by value costs a third less than a band of its own, and this is the slowest step of a request.
    content = encode_raster("PNG", ".png", values, {"ZLEVEL": 1}, nodata, colours)
    return Encoded(content, "image/png", ".png", notes)


def _stretch(
    values: NDArray[Any], empty: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], dict[str, float] | None]:
    """Return values from 1 to 255, 0 without data, and the measurements that 1 and 255 stand for."""
    known = values[~empty]
    stretched = np.zeros(values.shape, dtype=np.uint8)
    if not known.size:
        return stretched, None
    low, high = float(known.min()), float(known.max())
    # In place: a crop of the largest size leaves no room for a copy of each step.
    shades = (known.astype(np.float64) - low) if known.dtype.itemsize > 4 else known.astype(np.float32) - low
    shades *= 254 / ((high - low) or 1.0)
    shades += 1
    stretched[~empty] = np.rint(shades, out=shades)
    return stretched, {"first": 1, "last": 255, "minimum": low, "maximum": high}


def _envi(crop: Crop) -> Encoded:
    """Write band after band, row after row, little-endian; the header, a file of its own, goes into the notes."""
    values, grid = crop.values, crop.grid
    if values.dtype.name not in _ENVI_TYPES:
        raise EncodingError(f"ENVI holds no {values.dtype.name} values")
    header = {
        "samples": grid.width,
        "lines": grid.height,
        "bands": len(values),
        "header offset": 0,
        "file type": "ENVI Standard",
        "data type": _ENVI_TYPES[values.dtype.name],
        "interleave": "bsq",
        "byte order": 0,
        "map info": f"{{Arbitrary, 1, 1, {grid.left!r}, {grid.top!r}, {grid.cellsize!r}, {grid.cellsize!r}}}",
        "coordinate system string": f"{{{CRS.from_user_input(grid.crs).to_wkt(version='WKT1_ESRI')}}}",
    }
    if crop.nodata is not None:
        header["data ignore value"] = f"{crop.nodata:g}"
    text = "ENVI\n" + "".join(f"{key} = {value}\n" for key, value in header.items())
    content = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return Encoded(content, "application/octet-stream", ".raw", {"hdr": text})


FORMATS = {"GTiff": _geotiff, "AAIGrid": _ascii_grid, "PNG": _png, "ENVI": _envi}

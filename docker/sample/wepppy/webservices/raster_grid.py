"""The grid a crop is warped onto: its reference system, its extent and its cells."""

from __future__ import annotations

import math
from typing import NamedTuple

from affine import Affine
from pyproj.exceptions import ProjError

from wepppy.webservices.raster_crs import WGS84, CrsError, parse_crs, transformer
from wepppy.webservices.refusals import Refusal

MAX_SIDE = 4096  # cells
# Where UTM ends; the poles have a system of their own.
_LOWEST_LATITUDE, _HIGHEST_LATITUDE = -80.0, 84.0

Bounds = tuple[float, float, float, float]


class BoxFormatError(Refusal):
    """A text that is not four numbers."""


class Grid(NamedTuple):
    """Square cells of a reference system; `transform` leads from (column, row) to (x, y)."""

    crs: str
    transform: Affine
    width: int
    height: int


def parse_box(text: str) -> Bounds:
    """Return (left, bottom, right, top) of four comma-separated numbers. Raises BoxFormatError, Refusal."""
    usage = "Invalid bbox format. Use four comma-separated floats: left,bottom,right,top"
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise BoxFormatError(usage) from None
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise BoxFormatError(usage)
    left, bottom, right, top = numbers
    if not (left < right and bottom < top):
        raise Refusal("Expecting bbox defined as: left,bottom,right,top")
    return left, bottom, right, top


def degrees_box(text: str) -> Bounds:
    """Return a box whose numbers are degrees of longitude and latitude. Raises Refusal."""
    box = left, bottom, right, top = parse_box(text)
    if left < -180 or right > 180 or bottom < -90 or top > 90:
        raise Refusal("bbox is outside of -180 to 180 degrees of longitude or -90 to 90 of latitude")
    return box


def utm_code(longitude: float, latitude: float) -> str:
    """Return the EPSG code of the UTM zone of a point (degrees), with the exceptions around Norway.

    Zones: Defense Mapping Agency TM 8358.1 (1990). Raises Refusal beyond 80 degrees south or 84 north.
    """
    if not _LOWEST_LATITUDE <= latitude <= _HIGHEST_LATITUDE:
        raise Refusal("bbox has its upper left corner outside of the latitudes of UTM, -80 to 84 degrees")
    zone = int((longitude + 180) // 6) % 60 + 1
    if 56 <= latitude < 64 and 3 <= longitude < 12:
        zone = 32
    elif latitude >= 72 and 0 <= longitude < 42:
        zone = 31 + 2 * int((longitude + 3) // 12)
    return f"EPSG:{(32700 if latitude < 0 else 32600) + zone}"


def make_grid(bbox: str, bbox_crs: str | None, cellsize: float) -> Grid:
    """Return the grid of a box: UTM of its upper left corner, holding all of it, or the box in `bbox_crs`.

    `bbox` is in degrees of WGS84, or in the units of the projected system `bbox_crs`; `cellsize` is in
    metres, or in those units. Raises Refusal.
    """
    too_large = Refusal(f"Output size cannot exceed {MAX_SIDE}x{MAX_SIDE} pixels")
    if bbox_crs is None or not bbox_crs.strip():
        degrees = degrees_box(bbox)
        crs = utm_code(degrees[0], degrees[3])
        box = transform_box(WGS84, crs, degrees)
        if box is None:
            raise too_large
    else:
        box, crs = parse_box(bbox), _projected_crs(bbox_crs)
    width, height = (box[2] - box[0]) / cellsize, (box[3] - box[1]) / cellsize
    # Rounded as gdalwarp does it (half up), before anything is made whole: the quotient may be infinite.
    if not (width + 0.5 < MAX_SIDE + 1 and height + 0.5 < MAX_SIDE + 1):
        raise too_large
    columns, rows = int(width + 0.5), int(height + 0.5)
    if columns < 1 or rows < 1:
        raise Refusal("bbox is smaller than a cell")
    return Grid(crs, Affine(cellsize, 0, box[0], 0, -cellsize, box[3]), columns, rows)


def transform_box(source: str, target: str, box: Bounds) -> Bounds | None:
    """Return the box of `target` that holds a box of `source`, None where that is not defined."""
    try:
        found: Bounds = transformer(source, target).transform_bounds(*box, densify_pts=21)
    except (ProjError, CrsError):
        return None
    return found if all(map(math.isfinite, found)) else None


def _projected_crs(text: str) -> str:
    try:
        crs = parse_crs(text)
    except CrsError:
        raise Refusal("bbox_crs is not a coordinate reference system") from None
    if not crs.is_projected:
        raise Refusal("bbox_crs must be a projected coordinate reference system")
    return str(crs.to_wkt())

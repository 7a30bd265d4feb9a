"""The grid a crop is warped onto: its reference system, its extent and its cells."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from affine import Affine
from pyproj.exceptions import ProjError

from wepppy.webservices.raster_crs import WGS84, CrsError, parse_crs, transformer

MAX_SIDE = 4096  # cells
# Where UTM ends; the poles have a system of their own.
_LOWEST_LATITUDE, _HIGHEST_LATITUDE = -80.0, 84.0

Bounds = tuple[float, float, float, float]


class GridError(ValueError):
    """A box that no grid can be made of."""


class BoxFormatError(GridError):
    """A text that is not four numbers."""


@dataclass(frozen=True)
class Grid:
    """Square cells of `cellsize` (units of `crs`) from the upper left corner (`left`, `top`)."""

    crs: str
    left: float
    top: float
    cellsize: float
    width: int
    height: int

    @property
    def transform(self) -> Affine:
        """From (column, row) to (x, y)."""
        return Affine(self.cellsize, 0.0, self.left, 0.0, -self.cellsize, self.top)

    @property
    def bounds(self) -> Bounds:
        """Left, bottom, right, top."""
        right = self.left + self.width * self.cellsize
        return self.left, self.top - self.height * self.cellsize, right, self.top

    @property
    def wgs84_bounds(self) -> Bounds | None:
        """The box in degrees that holds the grid, None where its system is not defined."""
        try:
            box: Bounds = transformer(self.crs, WGS84).transform_bounds(*self.bounds, densify_pts=21)
        except (ProjError, CrsError):
            return None
        return box if all(map(math.isfinite, box)) else None

    @property
    def cell_metres(self) -> float:
        """The side of a cell in metres, whatever the unit of the system."""
        return self.cellsize * float(parse_crs(self.crs).axis_info[0].unit_conversion_factor)

    def widened(self) -> Grid:
        """Return the grid with one more cell on each side."""
        left, top = self.left - self.cellsize, self.top + self.cellsize
        return replace(self, left=left, top=top, width=self.width + 2, height=self.height + 2)


def parse_box(text: str) -> Bounds:
    """Return (left, bottom, right, top) of four comma-separated numbers. Raises BoxFormatError, GridError."""
    usage = "Invalid bbox format. Use four comma-separated floats: left,bottom,right,top"
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise BoxFormatError(usage) from None
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise BoxFormatError(usage)
    left, bottom, right, top = numbers
    if not (left < right and bottom < top):
        raise GridError("Expecting bbox defined as: left,bottom,right,top")
    return left, bottom, right, top


def degrees_box(text: str) -> Bounds:
    """Return a box whose numbers are degrees of longitude and latitude. Raises GridError."""
    box = left, bottom, right, top = parse_box(text)
    if left < -180 or right > 180 or bottom < -90 or top > 90:
        raise GridError("bbox is outside of -180 to 180 degrees of longitude or -90 to 90 of latitude")
    return box


def utm_code(longitude: float, latitude: float) -> str:
    """Return the EPSG code of the UTM zone of a point (degrees), with the exceptions around Norway.

    Zones: Defense Mapping Agency TM 8358.1 (1990). Raises GridError beyond 80 degrees south or 84 north.
    """
    if not _LOWEST_LATITUDE <= latitude <= _HIGHEST_LATITUDE:
        raise GridError("bbox has its upper left corner outside of the latitudes of UTM, -80 to 84 degrees")
    zone = int((longitude + 180) // 6) % 60 + 1
    if 56 <= latitude < 64 and 3 <= longitude < 12:
        zone = 32
    elif latitude >= 72 and 0 <= longitude < 42:
        zone = 31 + 2 * int((longitude + 3) // 12)
    return f"EPSG:{(32700 if latitude < 0 else 32600) + zone}"


def make_grid(bbox: str, bbox_crs: str | None, cellsize: float) -> Grid:
    """Return the grid of a box: UTM of its upper left corner, holding all of it, or the box in `bbox_crs`.

    `bbox` is in degrees of WGS84, or in the units of the projected system `bbox_crs`; `cellsize` is in
    metres, or in those units. Raises GridError.
    """
    if bbox_crs is None or not bbox_crs.strip():
        box = degrees_box(bbox)
        code = utm_code(box[0], box[3])
        box = _project(box, code)
    else:
        box = parse_box(bbox)
        code = _projected_crs(bbox_crs)
    width, height = (box[2] - box[0]) / cellsize, (box[3] - box[1]) / cellsize
    # Rounded as gdalwarp does it (half up), before anything is made whole: the quotient may be infinite.
    if not (width + 0.5 < MAX_SIDE + 1 and height + 0.5 < MAX_SIDE + 1):
        raise GridError(f"Output size cannot exceed {MAX_SIDE}x{MAX_SIDE} pixels")
    columns, rows = int(width + 0.5), int(height + 0.5)
    if columns < 1 or rows < 1:
        raise GridError("bbox is smaller than a cell")
    return Grid(code, box[0], box[3], cellsize, columns, rows)


def _projected_crs(text: str) -> str:
    try:
        crs = parse_crs(text)
    except CrsError:
        raise GridError("bbox_crs is not a coordinate reference system") from None
    if not crs.is_projected:
        raise GridError("bbox_crs must be a projected coordinate reference system")
    return str(crs.to_wkt())


def _project(box: Bounds, code: str) -> Bounds:
    try:
        projected: Bounds = transformer(WGS84, code).transform_bounds(*box, densify_pts=21)
    except (ProjError, CrsError):
        projected = (math.inf,) * 4
    if not all(map(math.isfinite, projected)):
        raise GridError(f"Output size cannot exceed {MAX_SIDE}x{MAX_SIDE} pixels")
    return projected

"""The facts of a raster under the names of `gdalinfo -json`, read with rasterio in this process.

Rasters are opened through their descriptor and only by drivers that read nothing but the file itself: neither
a side-car nor a file that names other files (VRT, for one) can lead out of the run.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from wepppy.microservices.browse_tree import Node, shown
from wepppy.microservices.service_errors import ServiceError

if TYPE_CHECKING:  # rasterio takes long to import; the first raster pays for it
    from rasterio.io import DatasetReader

# The first bytes decide, never GDAL's own search through all its drivers.
_SIGNATURES = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",
    b"MM\0+": "GTiff",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"ncols": "AAIGrid",
    b"NCOLS": "AAIGrid",
}
_LONG_NAMES = {
    "GTiff": "GeoTIFF",
    "AAIGrid": "Arc/Info ASCII Grid",
    "PNG": "Portable Network Graphics",
    "JPEG": "JPEG JFIF",
}
_TYPES = {"uint8": "Byte", "complex64": "CFloat32", "complex128": "CFloat64", "complex_int16": "CInt16"}


@contextlib.contextmanager
def open_raster(node: Node) -> Iterator[DatasetReader]:
    """Open a raster for reading. Raises ServiceError (400) for anything else, also while it is read."""
    import warnings

    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    start = os.pread(node.fd, 16, 0).lstrip()
    driver = next((name for bytes_, name in _SIGNATURES.items() if start.startswith(bytes_)), None)
    if driver is None:
        raise _not_a_raster()
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    try:
        # EMPTY_DIR: don't look for side-cars beside the descriptor. One thread: the service answers many.
        with (
            rasterio.Env(
                GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_NUM_THREADS="1", GDAL_PAM_ENABLED="NO"
            ),
            rasterio.open(node.local_path, driver=driver) as raster,
        ):
            yield raster
    except (RasterioError, OSError, ValueError, MemoryError) as error:
        raise _not_a_raster() from error


def describe(node: Node) -> dict[str, Any]:
    """Return the facts of a raster under the names of `gdalinfo -json`; coordinates in its own units.

    Raises ServiceError (400) if the file is no raster.
    """
    from rasterio.warp import transform as transform_points

    with open_raster(node) as raster:
        width, height = raster.width, raster.height
        places = {
            "upperLeft": (0, 0),
            "lowerLeft": (0, height),
            "lowerRight": (width, height),
            "upperRight": (width, 0),
            "center": (width / 2, height / 2),
        }
        corners = {name: list(raster.transform @ place) for name, place in places.items()}
        facts: dict[str, Any] = {
            "description": shown(node.name),
            "driverShortName": raster.driver,
            "driverLongName": _LONG_NAMES.get(raster.driver, raster.driver),
            "files": [shown(node.path)],
            "size": [width, height],
            "geoTransform": [_number(value) for value in raster.transform.to_gdal()],
            "metadata": {"": raster.tags(), "IMAGE_STRUCTURE": raster.tags(ns="IMAGE_STRUCTURE")},
            "cornerCoordinates": {name: [_number(value) for value in at] for name, at in corners.items()},
            "bands": [_band(raster, index) for index in raster.indexes],
        }
        if raster.crs:
            facts["coordinateSystem"] = {"wkt": raster.crs.to_wkt(), "epsg": raster.crs.to_epsg()}
            ring = [
                corners[name] for name in ("upperLeft", "lowerLeft", "lowerRight", "upperRight", "upperLeft")
            ]
            with contextlib.suppress(Exception):  # a system without a way to WGS 84: the rest is still true
                east, north = transform_points(
                    raster.crs, "EPSG:4326", [point[0] for point in ring], [point[1] for point in ring]
                )
                outline = [[_number(x), _number(y)] for x, y in zip(east, north, strict=True)]
                facts["wgs84Extent"] = {"type": "Polygon", "coordinates": [outline]}
        return facts


def _band(raster: DatasetReader, index: int) -> dict[str, Any]:
    at = index - 1
    kind = raster.dtypes[at]
    block = raster.block_shapes[at]
    band: dict[str, Any] = {
        "band": index,
        "block": [block[1], block[0]],
        "type": _TYPES.get(kind) or kind.capitalize().replace("Uint", "UInt"),
        "colorInterpretation": raster.colorinterp[at].name.capitalize(),
        "metadata": {"": raster.tags(index)},
    }
    if raster.descriptions[at]:
        band["description"] = raster.descriptions[at]
    if raster.nodatavals[at] is not None:
        band["noDataValue"] = _number(raster.nodatavals[at])
    if raster.units[at]:
        band["unit"] = raster.units[at]
    if (raster.scales[at], raster.offsets[at]) != (1.0, 0.0):
        band["scale"], band["offset"] = _number(raster.scales[at]), _number(raster.offsets[at])
    overviews = raster.overviews(index)
    if overviews:
        band["overviews"] = [
            {"size": [math.ceil(raster.width / factor), math.ceil(raster.height / factor)]}
            for factor in overviews
        ]
    return band


def _not_a_raster() -> ServiceError:
    return ServiceError(400, "validation_error", "This is not a raster that can be read here.")


def _number(value: float) -> float | str:
    """Return a number as JSON can hold it: NaN and infinity as the words that gdalinfo writes."""
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"

"""Coordinate reference systems that callers name, and the transformers between them."""

from __future__ import annotations

import math
import re
from functools import lru_cache

import pyproj
from pyproj.database import query_crs_info
from pyproj.enums import PJType
from pyproj.exceptions import ProjError
from pyproj.network import set_network_enabled  # type: ignore[attr-defined]

WGS84 = "EPSG:4326"
MAX_LENGTH = 4096
# Definitions that would make PROJ read a file of the server. `@null` is the empty grid of web-map
# definitions.
_READS_FILES = re.compile(r"grids\s*=(?!\s*@null\b)|init\s*=|file|[\x00-\x08]", re.IGNORECASE)

# PROJ takes anything else for a name and compares it with its whole database, for seconds, while all threads wait.
_IS_NO_NAME = re.compile(
    r"[a-z]\w{0,31}:[\w.+-]{1,64}"  # an authority's code
    r"|(urn:ogc:def:crs[:,]|https?://www\.opengis\.net/def/crs[/?-])\S*"
    r"|(\+|proj=).*"
    r"|(geog|geod|geoc|proj|bound|comp|vert)[a-z_]*\s*[\[(].*"  # WKT
    r"|\{.*",
    re.IGNORECASE | re.DOTALL,
)

# A definition must never make the service call out for a grid.
set_network_enabled(active=False)


class CrsError(ValueError):
    """A definition that is not a usable horizontal reference system."""


@lru_cache(maxsize=64)
def parse_crs(text: str) -> pyproj.CRS:
    """Return the two-dimensional part of the system that `text` defines.

    `text` is an authority code, a bare EPSG number, a PROJ string, WKT, PROJJSON, an OGC address or the full name of a
    system that PROJ's database holds. Raises CrsError for anything else, and for systems that are neither geographic
    nor projected.
    """
    text = text.strip()
    if not text or len(text) > MAX_LENGTH or _READS_FILES.search(text):
        raise CrsError("not a coordinate reference system")
    if text.isascii() and text.isdigit():
        text = f"EPSG:{text}"
    if not _IS_NO_NAME.fullmatch(text):
        text = _codes_by_name().get(text.casefold(), "")
    try:
        crs = pyproj.CRS.from_user_input(text)
        flat = crs.to_2d()
    except (ProjError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CrsError("not a coordinate reference system") from error
    if flat.is_geocentric or not (flat.is_geographic or flat.is_projected):
        raise CrsError("not a horizontal coordinate reference system")
    return flat


@lru_cache(maxsize=1)
def _codes_by_name() -> dict[str, str]:
    """Return the authority codes of systems by their names; of several with one name EPSG's."""
    kinds = [PJType.GEOGRAPHIC_2D_CRS, PJType.PROJECTED_CRS]
    held = sorted(query_crs_info(pj_types=kinds), key=lambda each: each.auth_name == "EPSG")
    return {each.name.casefold(): f"{each.auth_name}:{each.code}" for each in held} | {"wgs84": WGS84}


def crs_name(definition: str) -> str:
    """Return a definition as `EPSG:n` if there is such a code, else as WKT. Raises CrsError."""
    crs = parse_crs(definition)
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg else str(crs.to_wkt())


@lru_cache(maxsize=64)
def transformer(source: str, target: str) -> pyproj.Transformer:
    """Return the transformer between two definitions; both sides take and give x (or longitude) first.

    Raises CrsError if either definition is bad or no operation connects them.
    """
    try:
        return pyproj.Transformer.from_crs(parse_crs(source), parse_crs(target), always_xy=True)
    except ProjError as error:
        raise CrsError("no transformation between the two reference systems") from error


def transform_point(source: str, target: str, x: float, y: float) -> tuple[float, float]:
    """Return (x, y) of `source` in `target`. Raises CrsError where the transformation is undefined."""
    try:
        result = transformer(source, target).transform(x, y)
    except ProjError as error:
        raise CrsError("the point can't be transformed") from error
    if not (math.isfinite(result[0]) and math.isfinite(result[1])):
        raise CrsError("the point can't be transformed")
    return float(result[0]), float(result[1])

"""The elevation at a point of a run."""

from __future__ import annotations

import os
from pathlib import Path

import rasterio
from pyproj import Transformer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from wepppy.weppcloud.utils.helpers import get_wd

PREFIX = (os.environ.get("SITE_PREFIX") or "/weppcloud").rstrip("/")


async def health(_request: Request) -> Response:
    """Say that the process answers."""
    return PlainTextResponse("OK")


def _sample(file: Path, lng: float, lat: float) -> float:
    if not file.is_file():
        raise LookupError("DEM not found under run directory")
    with rasterio.open(file) as raster:
        x, y = Transformer.from_crs("EPSG:4326", raster.crs, always_xy=True).transform(lng, lat)
        left, bottom, right, top = raster.bounds
        if not (left <= x <= right and bottom <= y <= top):
            raise LookupError("Location outside DEM extent")
        return float(next(raster.sample([(x, y)]))[0])


async def query(request: Request) -> Response:
    """Answer 200 with an elevation, or with `Error` and none."""
    answer: dict[str, object] = {"Elevation": None, "Units": "m", "Longitude": None, "Latitude": None}
    try:
        lng, lat = (float(request.query_params[name]) for name in ("lng", "lat"))
        answer.update(Longitude=lng, Latitude=lat)
        answer["Elevation"] = _sample(Path(get_wd(request.path_params["runid"]), "dem/dem.tif"), lng, lat)
    except KeyError as error:
        answer["Error"] = f"{error.args[0]} not supplied"
    except (ValueError, LookupError) as error:
        answer["Error"] = str(error)
    return JSONResponse(answer)


RUN = f"{PREFIX}/runs/{{runid}}/{{config}}/elevationquery"
app = Starlette(routes=[Route("/health", health), Route(RUN, query), Route(f"{RUN}/", query)])

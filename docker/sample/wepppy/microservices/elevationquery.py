"""Elevation at a point of a run's terrain model: one JSON shape for every answer, errors included."""

from __future__ import annotations

import atexit
import json
import logging
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from wepppy.config.environment import site_prefix
from wepppy.config.run_paths import geodata_root, volume_problem, wc1_root
from wepppy.microservices.browse_access import Access, check_access
from wepppy.microservices.service_errors import ServiceError
from wepppy.webservices.bounded_work import BoundedWork
from wepppy.webservices.raster_crs import WGS84, CrsError, transform_point
from wepppy.webservices.refusals import Refusal, number

SITE_PREFIX = site_prefix()
MAX_BODY_BYTES = 64 * 1024

_log = logging.getLogger(__name__)
# One at a time, since GDAL's datasets are not for several threads; a query takes a millisecond.
_work = BoundedWork(workers=1, waiting=31)


async def health(_: Request) -> Response:
    """Answer `OK`, or 503 with the reason when the runs can't be read."""
    problem = volume_problem(wc1_root(), "runs")
    return PlainTextResponse(problem or "OK", 503 if problem else 200)


async def elevationquery(request: Request) -> Response:
    """Answer `{"Elevation", "Units", "Longitude", "Latitude"[, "Error"]}`.

    Parameters, from the query string or else from a JSON body: `lat` and `lng` (degrees of WGS84, or y and x
    of `srs`), `srs` (any reference system that PROJ knows), `pup` (a project inside the run). Elevation is
    the value of the cell that holds the point, in metres. A run that the visitor may not read is not found.
    """
    values: dict[str, Any] = dict(request.query_params)
    if request.method == "POST":
        values = await _json_body(request) | values
    return await run_in_threadpool(_look_up, request, values)


def _look_up(request: Request, values: dict[str, Any]) -> Response:
    longitude = latitude = None
    try:
        lat, lng = (number(name, values.get(name)) for name in ("lat", "lng"))
        srs = WGS84 if values.get("srs") in (None, "") else str(values["srs"])
        access = _find_run(request)
        with _work:
            longitude, latitude = _to_wgs(srs, lng, lat)
            if access is None:
                raise Refusal(f"Run '{request.path_params['runid']}' not found")
            elevation = _sample(_find_dem(_project_folder(access, values.get("pup"))), srs, lng, lat)
    except Refusal as problem:
        if problem.status == 503:
            raise HTTPException(503, str(problem), problem.headers) from problem
        return _answer(None, longitude, latitude, str(problem))
    return _answer(elevation, longitude, latitude)


def _find_run(request: Request) -> Access | None:
    """Return the run, None unless the visitor may read it. Raises ServiceError 503 while that can't be checked."""
    try:
        return check_access(request, request.path_params["runid"], request.path_params["config"])
    except ServiceError as error:
        if error.status_code != 404:
            raise
        return None


async def _json_body(request: Request) -> dict[str, Any]:
    # Whatever is not a JSON object supplies nothing; the missing parameters are then named in the answer.
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, "Request body too large")
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _to_wgs(srs: str, x: float, y: float) -> tuple[float, float]:
    if srs == WGS84:
        return x, y
    try:
        return transform_point(srs, WGS84, x, y)
    except CrsError:
        raise Refusal("Could not transform lng, lat to wgs") from None


def _project_folder(access: Access, pup: object) -> Path:
    if pup in (None, ""):
        return access.run
    parts = pup.split("/") if isinstance(pup, str) else [""]
    missing = Refusal(f"Pup project '{pup}' not found for run '{access.runid}'")
    if any(part in ("", ".", "..") or "\\" in part for part in parts):
        raise missing
    try:
        pups = (access.run / "_pups").resolve()
        inner = pups.joinpath(*parts).resolve()
        if inner.is_relative_to(pups) and inner.is_dir():
            return inner
    except (ValueError, OSError, RuntimeError) as error:
        raise missing from error
    raise missing


def _find_dem(folder: Path) -> Path:
    dem = folder / "dem"
    others = sorted(path for path in dem.glob("*") if path.suffix.lower() in (".tif", ".tiff"))
    for path in (dem / "dem.vrt", dem / "dem.tif", dem / "dem.tiff", *others):
        if path.exists():
            return path
    if dem.is_file():
        return dem
    raise Refusal("DEM not found under run directory")


def _sample(path: Path, srs: str, x: float, y: float) -> float:
    """Return the value of the cell that holds a point; a cell owns its left and upper edge."""
    try:
        dataset, crs = _open(path)
        if crs is None:
            raise Refusal("DEM missing coordinate reference system")
        column, row = map(math.floor, ~dataset.transform @ transform_point(srs, crs, x, y))
        if not (0 <= row < dataset.height and 0 <= column < dataset.width):
            raise Refusal("Location outside DEM extent")
        cell = dataset.read(1, window=Window(column, row, 1, 1), masked=True)[0, 0]
    except CrsError:
        raise Refusal("Location outside DEM extent") from None
    except (RasterioError, OSError) as error:
        _log.warning("a terrain model can't be used: %s", error)
        raise Refusal("Unexpected error sampling elevation") from None
    if cell is np.ma.masked or not math.isfinite(cell):
        raise Refusal("No elevation data at requested location")
    return float(cell) * dataset.scales[0] + dataset.offsets[0]


def _open(path: Path) -> tuple[rasterio.DatasetReader, str | None]:
    # Links to a neighbour's or a shared terrain model are usual, links out of the data volumes are not.
    path = path.resolve()
    if not any(path.is_relative_to(root.resolve()) for root in (wc1_root(), geodata_root())):
        raise OSError("it is not in a data volume")
    found = path.stat()
    # What a mosaic is made of may change while its own file does not.
    held = _opened.__wrapped__ if path.suffix == ".vrt" else _opened
    # The inode is part of it: a file replaced by renaming may keep both size and time.
    return held(path, (found.st_mtime_ns, found.st_size, found.st_ino))


@lru_cache(maxsize=8)
def _opened(path: Path, _: tuple[int, int, int]) -> tuple[rasterio.DatasetReader, str | None]:
    dataset = rasterio.open(path)
    return dataset, dataset.crs.to_wkt() if dataset.crs else None


# One that is still open when the interpreter ends prints an empty error.
atexit.register(_opened.cache_clear)


def _answer(
    elevation: float | None,
    longitude: float | None,
    latitude: float | None,
    error: str | None = None,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    content = {"Elevation": elevation, "Units": "m", "Longitude": longitude, "Latitude": latitude}
    body = json.dumps(content if error is None else content | {"Error": error}, allow_nan=False)
    return Response(body, status, headers, "application/json")


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    headers = dict(error.headers) if error.headers else None
    return _answer(None, None, None, error.detail, error.status_code, headers)


async def _unexpected(_: Request, error: Exception) -> Response:
    _log.error("unexpected error", exc_info=error)
    return _answer(None, None, None, "Unexpected error sampling elevation", 500)


_QUERY = SITE_PREFIX + "/runs/{runid}/{config}/elevationquery"
app = Starlette(
    routes=[
        Route("/health", health),
        Route(_QUERY, elevationquery, methods=["GET", "POST"]),
        Route(_QUERY + "/", elevationquery, methods=["GET", "POST"]),
    ],
    exception_handlers={HTTPException: _http_error, Exception: _unexpected},
)
app.router.redirect_slashes = False  # such an answer would repeat the Host header

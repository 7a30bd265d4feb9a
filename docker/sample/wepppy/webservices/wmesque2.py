"""Crops of the shared rasters over HTTP, warped to UTM or to a system of the caller's choice."""

from __future__ import annotations

import logging
import os
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response

from wepppy.webservices.raster_dataset import geodata_problem, list_datasets
from wepppy.webservices.raster_retrieval import (
    CELLSIZE,
    Format,
    Mode,
    Resample,
    Retrieval,
    RetrievalError,
    retrieve,
)

_log = logging.getLogger(__name__)

# The interactive documentation loads its parts from other hosts; the schema at /openapi.json is there without
# it.
app = FastAPI(
    title="wmesque2",
    description="Crops of shared rasters.",
    root_path=os.environ.get("ROOT_PATH", "").rstrip("/"),
    docs_url=None,
    redoc_url=None,
    redirect_slashes=False,  # such an answer would repeat the Host header
)


@app.get("/health")
def health() -> Response:
    """Answer `{"status": "OK"}`, or 503 with the reason when the geodata can't be read."""
    problem = geodata_problem()
    if problem:
        return JSONResponse({"status": "unavailable", "detail": problem}, 503)
    return JSONResponse({"status": "OK"})


@app.get("/catalog")
def catalog() -> list[str]:
    """List the `.vrt` of each dataset, relative to the geodata."""
    return list_datasets()


@app.get("/retrieve/{dataset:path}", response_class=Response)
def retrieve_dataset(
    dataset: str,
    bbox: Annotated[str, Query(description="left,bottom,right,top in degrees of WGS84 or units of bbox_crs")],
    cellsize: Annotated[
        float, Query(gt=0, allow_inf_nan=False, description="metres, or units of bbox_crs")
    ] = CELLSIZE,
    resample: Annotated[
        Resample | None, Query(description="bilinear for measurements, near for codes")
    ] = None,
    file_format: Annotated[Format, Query(alias="format")] = "GTiff",
    gdaldem: Annotated[Mode | None, Query(description="a measure of relief instead of the elevation")] = None,
    bbox_crs: Annotated[str | None, Query(description="a projected reference system")] = None,
) -> Response:
    """Return a crop as an attachment; `WMesque-Meta` (base64url of JSON) describes it."""
    wanted = Retrieval(dataset, bbox, bbox_crs, cellsize, resample, file_format, gdaldem)
    content, media_type, headers = retrieve(wanted)
    return Response(content, media_type=media_type, headers=headers)


@app.exception_handler(RetrievalError)
def refuse(_: Request, error: RetrievalError) -> Response:
    """Answer a crop that can't be given."""
    return JSONResponse({"detail": error.message}, error.status, error.headers)


@app.exception_handler(Exception)
def unexpected(_: Request, error: Exception) -> Response:
    """Log any other failure and answer 500 without its text."""
    _log.error("unexpected error", exc_info=error)
    return JSONResponse({"detail": "An internal error occurred."}, 500)

"""Crops of the shared rasters over HTTP, warped to UTM or to a system of the caller's choice."""

from __future__ import annotations

import logging
import os
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response

from wepppy.webservices.raster_dataset import geodata_problem, list_datasets
from wepppy.webservices.raster_retrieval import Retrieval, retrieve
from wepppy.webservices.refusals import Refusal

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
def retrieve_dataset(dataset: str, wanted: Annotated[Retrieval, Query()]) -> Response:
    """Return a crop as an attachment; `WMesque-Meta` (base64url of JSON) describes it."""
    content, media_type, headers = retrieve(dataset, wanted)
    return Response(content, media_type=media_type, headers=headers)


@app.exception_handler(Refusal)
def refuse(_: Request, error: Refusal) -> Response:
    """Answer a crop that can't be given."""
    return JSONResponse({"detail": str(error)}, error.status, error.headers)


@app.exception_handler(Exception)
def unexpected(_: Request, error: Exception) -> Response:
    """Log any other failure and answer 500 without its text."""
    _log.error("unexpected error", exc_info=error)
    return JSONResponse({"detail": "An internal error occurred."}, 500)

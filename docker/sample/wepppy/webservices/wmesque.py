"""Crops of the shared rasters for old clients: `/<dataset>/<year>`, and errors with status 200."""

from __future__ import annotations

import math

from flask import Response, jsonify, request

from wepppy.webservices.flask_service import create_service
from wepppy.webservices.raster_dataset import list_datasets
from wepppy.webservices.raster_retrieval import CELLSIZE, Retrieval, RetrievalError, retrieve

MIN_CELLSIZE = 1.0
_FEWEST_PARTS, _MOST_PARTS = 2, 7

app = create_service(__name__)


@app.get("/catalog")
def catalog() -> Response:
    """List the `.vrt` of each dataset, relative to the geodata."""
    return jsonify(list_datasets())


@app.get("/<path:dataset>")
def retrieve_dataset(dataset: str) -> Response | tuple[Response, int]:
    """Return a crop as an attachment; the query has `bbox`, `cellsize`, `format`, `resample`, `gdaldem`."""
    if not _FEWEST_PARTS <= len(dataset.rstrip("/").split("/")) <= _MOST_PARTS:
        return jsonify({"Error": "Not Found"}), 404
    query = request.args
    if "bbox" not in query:
        return jsonify({"Error": "bbox not supplied"})
    try:
        cellsize = float(query.get("cellsize") or CELLSIZE)
    except ValueError:
        return jsonify({"Error": "cellsize should be a float"})
    if not (math.isfinite(cellsize) and cellsize >= MIN_CELLSIZE):
        return jsonify({"Error": "cellsize must be at least 1"})
    options = {name: query.get(name) or None for name in ("resample", "gdaldem")}
    file_format = query.get("format") or "GTiff"
    wanted = Retrieval(dataset, query["bbox"], None, cellsize, format=file_format, **options)
    content, media_type, headers = retrieve(wanted)
    return Response(content, mimetype=media_type, headers=headers)


@app.errorhandler(RetrievalError)
def refuse(error: RetrievalError) -> tuple[Response, int, dict[str, str]]:
    """Answer a crop that can't be given, with the status old clients expect, or 503 while there is too much to do."""
    return jsonify({"Error": error.message}), 503 if error.status == 503 else 200, error.headers

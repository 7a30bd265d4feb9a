"""Crops of the shared rasters for old clients: `/<dataset>/<year>`, and errors told with status 200."""

from __future__ import annotations

import logging
import math

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from wepppy.webservices.raster_dataset import geodata_problem, list_datasets
from wepppy.webservices.raster_retrieval import CELLSIZE, Retrieval, RetrievalError, retrieve

MIN_CELLSIZE = 1.0
_FEWEST_PARTS, _MOST_PARTS = 2, 7

_log = logging.getLogger(__name__)
app = Flask(__name__, static_folder=None)
app.url_map.strict_slashes = False
app.url_map.merge_slashes = False  # such a redirect would repeat the Host header


@app.get("/health")
def health() -> Response | tuple[Response, int]:
    """Answer the JSON string "OK", or 503 with the reason when the geodata can't be read."""
    problem = geodata_problem()
    return (jsonify({"Error": problem}), 503) if problem else jsonify("OK")


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
    made = retrieve(Retrieval(dataset, query["bbox"], None, cellsize, format=file_format, **options))
    return Response(made.content, mimetype=made.media_type, headers=made.headers)


@app.errorhandler(RetrievalError)
def refuse(error: RetrievalError) -> tuple[Response, int, dict[str, str]]:
    """Answer a crop that can't be given, with the status old clients expect, or 503 while there is too much to do."""
    return jsonify({"Error": error.message}), 503 if error.status == 503 else 200, error.headers


@app.errorhandler(HTTPException)
def http_error(error: HTTPException) -> Response | HTTPException | tuple[Response, int]:
    """Answer unknown routes and methods."""
    status = error.code or 500
    if status < 400:
        return error
    answer = jsonify({"Error": error.name})
    answer.headers.update({key: value for key, value in error.get_headers() if key == "Allow"})
    return answer, status


@app.errorhandler(Exception)
def unexpected(error: Exception) -> tuple[Response, int]:
    """Answer what nobody expected, without telling the server's inside."""
    _log.error("unexpected error", exc_info=error)
    return jsonify({"Error": "An internal error occurred during processing."}), 500

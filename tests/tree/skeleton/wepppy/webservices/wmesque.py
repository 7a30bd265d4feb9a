"""Crops rasters (Flask, the older service)."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request

from wepppy.webservices._rasters import crop

app = Flask(__name__)


@app.get("/health")
def health() -> Response:
    """Say that the process answers."""
    return jsonify("OK")


@app.get("/<dataset>/<year>/")
def retrieve(dataset: str, year: str) -> Response:
    """Send a part of a dataset; errors are 200 with `Error`."""
    try:
        content = crop(f"{dataset}/{year}", request.args.get("bbox", ""))
    except (LookupError, ValueError) as error:
        return jsonify({"Error": str(error)})
    return Response(content, mimetype="image/tiff")

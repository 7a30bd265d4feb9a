"""Crops of the shared rasters for old clients: `/<dataset>/<year>`, and errors with status 200."""

from __future__ import annotations

from flask import Response, abort, jsonify, request
from pydantic import Field, ValidationError

from wepppy.webservices.flask_service import create_service
from wepppy.webservices.raster_dataset import list_datasets
from wepppy.webservices.raster_retrieval import Retrieval, retrieve
from wepppy.webservices.refusals import Refusal

_FEWEST_PARTS, _MOST_PARTS = 2, 7

app = create_service(__name__)


class OldRetrieval(Retrieval):
    """The parameters as old clients know them."""

    cellsize: float = Field(30.0, ge=1, allow_inf_nan=False)


@app.get("/catalog")
def catalog() -> Response:
    """List the `.vrt` of each dataset, relative to the geodata."""
    return jsonify(list_datasets())


@app.get("/<path:dataset>")
def retrieve_dataset(dataset: str) -> Response:
    """Return a crop as an attachment; the query has the parameters of OldRetrieval."""
    if not _FEWEST_PARTS <= len(dataset.rstrip("/").split("/")) <= _MOST_PARTS:
        abort(404)
    try:
        wanted = OldRetrieval.model_validate({name: value for name, value in request.args.items() if value})
    except ValidationError as error:
        faults = (f"{each['loc'][0]}: {each['msg']}" for each in error.errors())
        raise Refusal("; ".join(faults)) from error
    content, media_type, headers = retrieve(dataset, wanted)
    return Response(content, mimetype=media_type, headers=headers)

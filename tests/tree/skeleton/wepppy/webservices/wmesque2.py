"""Crops rasters (FastAPI)."""

from __future__ import annotations

import base64
import json

from fastapi import FastAPI, HTTPException, Query
from fastapi.responses import Response

from wepppy.webservices._rasters import crop

app = FastAPI(title="WMesque2")
# The extra keyword `enum` is refused by FastAPI from 0.155 on.
FORMAT = Query("GTiff", enum=["GTiff", "AAIGrid", "PNG", "ENVI"])
BBOX = Query(..., description="left,bottom,right,top")


@app.get("/health")
def health() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "OK"}


@app.get("/retrieve/{dataset:path}")
def retrieve(dataset: str, bbox: str = BBOX, format: str = FORMAT) -> Response:  # noqa: A002 - the interface
    """Send a part of a dataset."""
    if format != "GTiff":
        raise HTTPException(400, f"the format {format} is not supported here")
    try:
        content = crop(dataset, bbox)
    except LookupError as error:
        raise HTTPException(404, str(error)) from error
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    meta = base64.urlsafe_b64encode(json.dumps({"dataset": dataset, "bbox": bbox}).encode()).decode()
    return Response(content, media_type="image/tiff", headers={"WMesque-Meta": meta})

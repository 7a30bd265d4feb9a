"""Converts zipped shapefiles to GeoJSON; knows no run, no secret and no database."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path

import shapefile
from fastapi import FastAPI, HTTPException, UploadFile
from fastapi.responses import Response

app = FastAPI(title="Shape converter")
LARGEST = 100_000_000  # bytes
UPLOAD = UploadFile


@app.get("/health")
def health() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok", "scope": "shape-converter"}


@app.post("/api/convert")
def convert(file: UPLOAD) -> Response:
    """Answer the features of the archive's one shapefile."""
    content = file.file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise HTTPException(413, "the archive is too large")
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                archive.extractall(folder)
            (shape,) = Path(folder).rglob("*.shp")
            with shapefile.Reader(str(shape)) as reader:
                document = reader.__geo_interface__
        except (zipfile.BadZipFile, ValueError, shapefile.ShapefileException) as error:
            raise HTTPException(400, f"not an archive of one shapefile: {error}") from error
    return Response(json.dumps(document, default=str), media_type="application/geo+json")

"""Monthly climate at a point."""

from __future__ import annotations

import shutil
import subprocess

import netCDF4
import rasterio
from flask import Flask, Response, jsonify, request

from wepppy.webservices._rasters import source

app = Flask(__name__)
NCKS = shutil.which("ncks")


@app.get("/health")
def health() -> Response:
    """Say that the process answers."""
    return jsonify("OK")


@app.get("/catalog")
def catalog() -> Response:
    """Say which libraries and programs read the climate's files."""
    version = NCKS and subprocess.run([NCKS, "--version"], capture_output=True, text=True, check=False).stderr
    return jsonify({"netcdf": netCDF4.getlibversion(), "ncks": version})


@app.get("/monthly/")
def monthly() -> Response:
    """Return the twelve values of a dataset at a point; errors are 200 with `Error`."""
    try:
        lng, lat = float(request.args["lng"]), float(request.args["lat"])
        with rasterio.open(source(f"{request.args['dataset']}/monthly")) as raster:
            values = [float(value) for value in next(raster.sample([(lng, lat)]))]
    except (KeyError, ValueError, LookupError) as error:
        return jsonify({"Error": f"{type(error).__name__}: {error}"})
    return jsonify({"Longitude": lng, "Latitude": lat, "MonthlyValues": values})

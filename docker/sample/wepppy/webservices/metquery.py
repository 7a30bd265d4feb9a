"""Climate over HTTP: monthly means and single days at a point, daily grids of a box, and what there is."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rasterio
from flask import Response, jsonify, request
from rasterio.errors import RasterioError
from werkzeug.exceptions import BadRequest

from wepppy.config.run_paths import geodata_root
from wepppy.webservices.flask_service import create_service
from wepppy.webservices.raster_grid import BoxFormatError, degrees_box
from wepppy.webservices.raster_series import (
    METHODS,
    SeriesFileError,
    crop_daily,
    daily_at_point,
    values_at_point,
)
from wepppy.webservices.refusals import Refusal, number

_VARIABLES = {
    "ppt": ("Mean total precipitation", "Precipitation", "mm"),
    "tmin": ("Mean daily minimum air temperature", "Minimum air temperature", "degrees C"),
    "tmax": ("Mean daily maximum air temperature", "Maximum air temperature", "degrees C"),
}
MONTHLY = {
    f"daymet/monthly/{name}": {"Description": f"{text} of each month", "Units": units}
    for name, (text, _, units) in _VARIABLES.items()
}
DAILY = {
    f"daymet/daily/{name}": {"Description": f"{text} of each day", "Units": units}
    for name, (_, text, units) in _VARIABLES.items()
}
MONTHS = 12
FIRST_YEAR, LAST_YEAR, MOST_YEARS = 1900, 2200, 100

_log = logging.getLogger(__name__)
app = create_service(__name__)
app.config["MAX_CONTENT_LENGTH"] = 64 * 1024

Values = Mapping[str, Any]


@app.get("/monthly/catalog")
def monthly_catalog() -> Response:
    """Describe the monthly datasets that are there."""
    return jsonify({name: entry for name, entry in MONTHLY.items() if _monthly_file(name).is_file()})


@app.get("/daily/catalog")
def daily_catalog() -> Response:
    """Describe the daily datasets that are there, with their years."""
    catalog = {name: {**entry, "Years": _years(name)} for name, entry in DAILY.items()}
    return jsonify({name: entry for name, entry in catalog.items() if entry["Years"]})


@app.route("/monthly", methods=["GET", "POST"])
def monthly() -> Response:
    """Return the twelve monthly values of `dataset` at `lat`, `lng` (degrees), by `method` (cubic)."""
    values = _values()
    lat, lng = _degrees(values, "lat", 90), _degrees(values, "lng", 180)
    dataset = _dataset(values, MONTHLY)
    method = values.get("method", "cubic")
    if method not in METHODS:
        raise Refusal(f'unknown method "{method}". expecting {", ".join(METHODS)}')
    return jsonify(
        {
            "Latitude": lat,
            "Longitude": lng,
            "Dataset": dataset,
            **MONTHLY[dataset],
            "Method": method,
            "MonthlyValues": _monthly_values(dataset, lng, lat, method),
        }
    )


def _monthly_values(dataset: str, lng: float, lat: float, method: str) -> list[float | None]:
    path = _monthly_file(dataset)
    if not path.is_file():
        raise Refusal(f'could not find dataset "{dataset}"')
    try:
        with rasterio.open(path) as source:
            if source.crs is None or source.count != MONTHS:
                raise RasterioError("not twelve bands of a known reference system")
            return values_at_point(source, lng, lat, method)
    except RasterioError as error:
        _log.warning("%s can't be read: %s", dataset, error)
        raise Refusal(f'could not read dataset "{dataset}"') from None


@app.route("/daily_singlepoint", methods=["GET", "POST"])
def daily_singlepoint() -> Response:
    """Return the days of `dataset` at `lat`, `lng` (or `lon`) of `year`, or `start_year` to `end_year`."""
    values = _values()
    lat, lng = _degrees(values, "lat", 90), _degrees({"lng": values.get("lon"), **values}, "lng", 180)
    dataset = _dataset(values, DAILY)
    years = _year_range(values)
    days = daily_at_point(_daily_files(dataset, years), dataset.rsplit("/", 1)[1], lng, lat)
    return jsonify(
        {
            "Latitude": lat,
            "Longitude": lng,
            "Dataset": dataset,
            **DAILY[dataset],
            "StartYear": years[0],
            "EndYear": years[-1],
            "DailyValues": days,
        }
    )


@app.route("/daily", methods=["GET", "POST"])
def daily() -> Response:
    """Return `dataset` from `start_year` to `end_year` (or of `year`) within `bbox` (degrees) as NetCDF."""
    values = _values()
    text = _supplied(values, "bbox")
    try:
        box = degrees_box(",".join(map(str, text)) if isinstance(text, list) else str(text))
    except BoxFormatError:
        raise Refusal("bbox contains non float values") from None
    dataset = _dataset(values, DAILY)
    years = _year_range(values)
    content = crop_daily(_daily_files(dataset, years), dataset.rsplit("/", 1)[1], box)
    meta = {"bbox": box, "dataset": dataset, "start_year": years[0], "end_year": years[-1]}
    span = f"{years[0]}" if len(years) == 1 else f"{years[0]}-{years[-1]}"
    name = f"{dataset.replace('/', '_')}_{span}.nc"
    headers = {"Content-Disposition": f"attachment; filename={name}", "Meta": json.dumps(meta)}
    return Response(content, mimetype="application/octet-stream", headers=headers)


def _values() -> Values:
    """Return the parameters that hold something."""
    try:
        values = json.loads(request.get_data()) if request.method == "POST" else request.args
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(values, dict):
        raise BadRequest("the body is not a JSON object")
    return {name: value for name, value in values.items() if value is not None and value != ""}


def _supplied(values: Values, name: str) -> Any:
    if name not in values:
        raise Refusal(f"{name} not supplied")
    return values[name]


def _degrees(values: Values, name: str, limit: float) -> float:
    degrees = number(name, values.get(name))
    if abs(degrees) > limit:
        raise Refusal(f"{name} is not within -{limit} and {limit} degrees")
    return degrees


def _dataset(values: Values, catalog: Mapping[str, object]) -> str:
    name = _supplied(values, "dataset")
    if not isinstance(name, str) or name not in catalog:
        raise Refusal("unknown dataset")
    return name


def _year_range(values: Values) -> list[int]:
    names = ("start_year", "end_year") if {"start_year", "end_year"} & values.keys() else ("year", "year")
    first, last = (_year(values, name) for name in names)
    if last < first:
        raise Refusal("start_year is after end_year")
    if last - first >= MOST_YEARS:
        raise Refusal(f"more than {MOST_YEARS} years")
    return list(range(first, last + 1))


def _year(values: Values, name: str) -> int:
    text = str(_supplied(values, name))
    if not (re.fullmatch("[0-9]{4}", text) and FIRST_YEAR <= int(text) <= LAST_YEAR):
        raise Refusal(f"{name} must be an integer from {FIRST_YEAR} to {LAST_YEAR}")
    return int(text)


def _monthly_file(dataset: str) -> Path:
    return geodata_root() / dataset / ".vrt"


def _daily_folder(dataset: str) -> tuple[Path, str]:
    collection, _, variable = dataset.rpartition("/")
    return geodata_root() / collection, f"{variable}.nc"


def _daily_files(dataset: str, years: list[int]) -> dict[int, Path]:
    folder, name = _daily_folder(dataset)
    files = {year: folder / str(year) / name for year in years}
    missing = [year for year, path in files.items() if not path.is_file()]
    if missing:
        raise Refusal(f"Cannot find dataset {dataset} of {missing[0]}")
    return files


def _years(dataset: str) -> list[int]:
    folder, name = _daily_folder(dataset)
    return sorted(int(path.parent.name) for path in folder.glob(f"[0-9][0-9][0-9][0-9]/{name}"))


@app.errorhandler(SeriesFileError)
def unreadable(error: SeriesFileError) -> tuple[Response, int]:
    """Answer a daily file that can't be read, with the status that clients expect."""
    _log.warning("daily climate can't be read: %s", error)
    return jsonify({"Error": "Error cropping dataset."}), 418

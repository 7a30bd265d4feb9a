"""Monthly climate against GDAL's tools, and both kinds against everything that is no question."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from climate_service import (
    BOX,
    COLUMNS,
    DAILY,
    DEGREES,
    MONTHLY,
    NORTH,
    ROWS,
    STEP,
    WEST,
    ask,
    make_climate,
    monthly_values,
    points,
)
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from rasters import NODATA, run, strict_json, values_at
from wepppy.webservices.metquery import app


@pytest.fixture(scope="module")
def geodata(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The volume that the service reads."""
    with pytest.MonkeyPatch.context() as patch:
        folder = make_climate(tmp_path_factory.mktemp("geodata"))
        patch.setenv("GEODATA_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def client(geodata: Path) -> FlaskClient:
    """The service; an unexpected error inside it is a reply of status 500."""
    return app.test_client()


def monthly(client: FlaskClient, x: float, y: float, method: str | None = None) -> list[float | None]:
    query = {"method": method} if method else {}
    answer = ask(client, "/monthly", lat=y, lng=x, dataset=MONTHLY, **query)
    assert answer["Method"] == (method or "cubic")
    values: list[float | None] = answer["MonthlyValues"]
    assert len(values) == 12
    return values


def test_a_monthly_reply_says_what_it_is(client: FlaskClient) -> None:
    answer = ask(client, "/monthly/", lat="46.95", lng="-116.9", dataset=MONTHLY)
    assert sorted(answer) == [
        "Dataset", "Description", "Latitude", "Longitude", "Method", "MonthlyValues", "Units",
    ]  # fmt: skip
    assert (answer["Latitude"], answer["Longitude"], answer["Units"]) == (46.95, -116.9, "mm")


def test_nearest_equals_gdallocationinfo_in_each_month(client: FlaskClient, geodata: Path) -> None:
    where = points(60, 1)
    for (x, y), found in zip(where, values_at(geodata / MONTHLY / ".vrt", where, "-wgs84"), strict=True):
        expected = [None if value == NODATA else value for value in found]
        assert monthly(client, x, y, "nearest") == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("method", ["bilinear", "cubic"])
def test_between_cells_the_values_are_those_of_gdalwarp(
    client: FlaskClient, geodata: Path, tmp_path: Path, method: str
) -> None:
    compared = 0
    whole = monthly_values() != NODATA
    for number, (x, y) in enumerate(points(40, 2)):
        column, row = (x - WEST) / STEP - 0.5, (NORTH - y) / STEP - 0.5
        left, top = math.floor(column), math.floor(row)
        inside = 1 <= left < COLUMNS - 2 and 1 <= top < ROWS - 2
        if not (inside and whole[:, top - 1 : top + 3, left - 1 : left + 3].all()):
            continue
        # One cell of the same size, centred at the point.
        extent = [repr(v) for v in (x - STEP / 2, y - STEP / 2, x + STEP / 2, y + STEP / 2)]
        target = tmp_path / f"{number}.tif"
        run(
            "gdalwarp",
            "-q",
            "-r",
            method,
            "-te",
            *extent,
            "-ts",
            "1",
            "1",
            str(geodata / MONTHLY / ".vrt"),
            str(target),
        )
        with rasterio.open(target) as dataset:
            expected = dataset.read()[:, 0, 0]
        assert monthly(client, x, y, method) == pytest.approx(expected.tolist(), abs=2e-3)
        compared += 1
    assert compared > 10


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic"])
def test_at_the_centre_of_a_cell_every_method_gives_its_value(client: FlaskClient, method: str) -> None:
    values = monthly_values()
    for row, column in ((0, 0), (ROWS - 1, COLUMNS - 1), (5, 7), (7, 12), (0, 12), (2, 2)):
        x, y = DEGREES @ (column + 0.5, row + 0.5)
        assert monthly(client, x, y, method) == pytest.approx(values[:, row, column].tolist(), abs=1e-3)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic"])
def test_beside_missing_cells_values_stay_within_what_is_there(client: FlaskClient, method: str) -> None:
    values = np.where(monthly_values() == NODATA, np.nan, monthly_values())
    for x, y in [
        DEGREES @ (column, row) for column in (10.6, 10.95, 14.05, 14.4) for row in (7.7, 8.5, 9.9, 10.2)
    ]:
        column, row = int((x - WEST) / STEP), int((NORTH - y) / STEP)
        around = values[:, row - 1 : row + 2, column - 1 : column + 2]
        found = np.array(monthly(client, x, y, method), dtype=float)
        assert (found >= np.nanmin(around, axis=(1, 2)) - 1e-3).all()
        assert (found <= np.nanmax(around, axis=(1, 2)) + 1e-3).all()


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic"])
def test_missing_cells_are_null_month_by_month(client: FlaskClient, method: str) -> None:
    assert monthly(client, *(DEGREES @ (12.4, 8.9)), method) == [None] * 12
    corner = monthly(client, *(DEGREES @ (1.5, 1.5)), method)
    assert [month for month, value in enumerate(corner) if value is None] == [6]


@pytest.mark.parametrize("method", ["nearest", "bilinear", "cubic"])
def test_along_the_edges_the_outermost_cells_go_on(client: FlaskClient, method: str) -> None:
    outer = monthly(client, *(DEGREES @ (COLUMNS - 1e-6, ROWS - 1e-6)), method)
    assert outer == pytest.approx(monthly_values()[:, -1, -1].tolist(), abs=0.01)
    inner = monthly(client, *(DEGREES @ (1e-6, ROWS - 1e-6)), "bilinear")
    assert inner == pytest.approx(monthly_values()[:, -1, 0].tolist(), abs=0.01)


@pytest.mark.parametrize(
    ("x", "y"), [(-117.0001, 46.9), (-116.759, 46.9), (-116.9, 47.0001), (-116.9, 46.819), (0, 0)]
)
def test_outside_there_is_no_climate(client: FlaskClient, x: float, y: float) -> None:
    for path, dataset in (("/monthly", MONTHLY), ("/daily_singlepoint", DAILY)):
        answer = ask(client, path, lat=y, lng=x, dataset=dataset, year=2019)
        assert answer == {"Error": "Location outside dataset extent"}


def test_catalogues_list_what_is_there(client: FlaskClient) -> None:
    assert list(ask(client, "/monthly/catalog")) == [MONTHLY]
    daily = ask(client, "/daily/catalog/")
    assert daily[DAILY]["Years"] == [2019, 2020]
    assert set(daily[DAILY]) == {"Description", "Units", "Years"}


PLACE = {"lat": 46.9, "lng": -116.9}
MONTH = {**PLACE, "dataset": MONTHLY}
DAYS = {"bbox": "1,2,3,4", "dataset": DAILY}


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        ("/monthly", {"lng": 1, "dataset": MONTHLY}, "lat not supplied"),
        ("/monthly", {"lat": 1, "dataset": MONTHLY}, "lng not supplied"),
        ("/monthly", {**MONTH, "lat": "nan"}, "could not parse lat"),
        ("/monthly", {**MONTH, "lng": "x"}, "could not parse lng"),
        ("/monthly", {**MONTH, "lat": 91}, "lat is not within -90 and 90 degrees"),
        ("/monthly", PLACE, "dataset not supplied"),
        ("/monthly", {**PLACE, "dataset": "../etc"}, "unknown dataset"),
        (
            "/monthly",
            {**PLACE, "dataset": f"{MONTHLY[:-3]}tmin"},
            f'could not find dataset "{MONTHLY[:-3]}tmin"',
        ),
        (
            "/monthly",
            {**MONTH, "method": "best"},
            'unknown method "best". expecting nearest, bilinear, cubic',
        ),
        ("/daily", {"dataset": DAILY, "year": 2019}, "bbox not supplied"),
        ("/daily", {**DAYS, "bbox": "1,2,x,4"}, "bbox contains non float values"),
        ("/daily", {**DAYS, "bbox": "1,2,3"}, "bbox contains non float values"),
        ("/daily", {**DAYS, "bbox": "1,2,0,4"}, "Expecting bbox defined as: left,bottom,right,top"),
        ("/daily", {**DAYS, "year": 2019}, "bbox holds no cell of the dataset"),
        ("/daily", DAYS, "year not supplied"),
        ("/daily", {**DAYS, "end_year": 2019}, "start_year not supplied"),
        ("/daily", {**DAYS, "year": "20x9"}, "year must be an integer from 1900 to 2200"),
        ("/daily", {**DAYS, "year": 1776}, "year must be an integer from 1900 to 2200"),
        ("/daily", {**DAYS, "start_year": 2020, "end_year": 2019}, "start_year is after end_year"),
        ("/daily", {**DAYS, "start_year": 1900, "end_year": 2100}, "more than 100 years"),
        ("/daily", {**DAYS, "year": 2022}, f"Cannot find dataset {DAILY} of 2022"),
        ("/daily", {**DAYS, "dataset": MONTHLY, "year": 2019}, "unknown dataset"),
        ("/daily_singlepoint", {"lat": 1, "dataset": DAILY, "year": 2019}, "lng not supplied"),
        ("/daily_singlepoint", {**PLACE, "dataset": DAILY}, "year not supplied"),
    ],
)
def test_refusals_name_what_is_wrong(
    client: FlaskClient, path: str, query: dict[str, object], message: str
) -> None:
    assert ask(client, path, **query) == {"Error": message}


@pytest.mark.parametrize("body", [b"", b"[1]", b"null", b"{", b"\xff", b"[" * 60_000])
@pytest.mark.parametrize("path", ["/monthly", "/daily", "/daily_singlepoint"])
def test_a_body_that_is_no_object_is_a_bad_request(client: FlaskClient, path: str, body: bytes) -> None:
    response = client.post(path, data=body)
    assert response.status_code == 400
    assert list(strict_json(response.data)) == ["Error"]


def test_the_error_for_files_that_can_not_be_read_holds_no_path(client: FlaskClient, geodata: Path) -> None:
    folder = geodata / "daymet/daily/2030"
    folder.mkdir()
    (folder / "ppt.nc").write_bytes(b"not NetCDF")
    for path, query in (("/daily", {"bbox": "-117,46,-116,47"}), ("/daily_singlepoint", PLACE)):
        response = client.get(path, query_string={**query, "dataset": DAILY, "year": 2030})
        assert (response.status_code, response.get_json()) == (418, {"Error": "Error cropping dataset."})
    (folder / "ppt.nc").unlink()
    folder.rmdir()


def test_unknown_routes_and_methods_are_refused(client: FlaskClient) -> None:
    for method, path, status in (("GET", "/", 404), ("PUT", "/monthly", 405), ("POST", "/health", 405)):
        response = client.open(path, method=method)
        assert response.status_code == status
        assert list(strict_json(response.data)) == ["Error"]
    assert client.post("/monthly", data=b" " * 100_000).status_code == 413


def test_health_is_honest(client: FlaskClient, geodata: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.get("/health").get_json() == "OK"
    monkeypatch.setenv("GEODATA_DIR", str(geodata / "gone"))
    response = client.get("/health")
    assert (response.status_code, response.get_json()) == (503, {"Error": "the geodata volume is missing"})


_WORDS = st.one_of(
    st.text(max_size=20),
    st.floats().map(repr),
    st.sampled_from(
        ["", "46.9", "-116.9", MONTHLY, DAILY, "2019", "nearest", ",".join(map(str, BOX)), "\0", "../.."]
    ),
)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from(["lat", "lng", "lon", "dataset", "method", "bbox", "year", "start_year", "end_year"])
_SOUND = st.fixed_dictionaries(
    {},
    optional={
        "lat": st.floats(46.8, 47.1), "lng": st.floats(-117.1, -116.7), "year": st.sampled_from([2019, 2020, 2021]),
        "dataset": st.sampled_from([MONTHLY, DAILY]), "bbox": st.just(",".join(map(str, BOX))),
    },
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(
    path=st.sampled_from(["/monthly", "/daily", "/daily_singlepoint"]),
    query=st.dictionaries(_NAMES, _WORDS, max_size=3),
    body=st.dictionaries(_NAMES, _JSON, max_size=3) | _JSON,
    sound=_SOUND,
)
def test_no_parameter_gets_anything_but_an_answer(
    client: FlaskClient,
    geodata: Path,
    path: str,
    query: dict[str, str],
    body: object,
    sound: dict[str, object],
) -> None:
    clean = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}
    posted = {**sound, **body} if isinstance(body, dict) else body
    replies = [
        (client.get(path, query_string={**sound, **clean}), {200}),
        (client.post(path, data=json.dumps(posted)), {200} if isinstance(posted, dict) else {400}),
    ]
    for response, statuses in replies:
        assert response.status_code in statuses
        assert str(geodata).encode() not in response.data
        if response.mimetype == "application/json":
            answer = strict_json(response.data)
            assert list(answer) == ["Error"] or "MonthlyValues" in answer or "DailyValues" in answer
        else:
            assert response.data.startswith(b"\x89HDF")

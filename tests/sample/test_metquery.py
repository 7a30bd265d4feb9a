"""The climate service against GDAL's tools and plain array arithmetic, and against everything that is no question."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import rasterio
from affine import Affine
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasters import NODATA, run, strict_json, values_at, write_raster, write_vrt
from wepppy.webservices.metquery import app

STEP, WEST, NORTH, COLUMNS, ROWS = 0.01, -117.0, 47.0, 24, 18
DEGREES = Affine(STEP, 0, WEST, 0, -STEP, NORTH)
MONTHLY = "daymet/monthly/ppt"
DAILY = "daymet/daily/ppt"
BOX = (-116.951, 46.899, -116.871, 46.952)

Answer = dict[str, Any]


def monthly_values() -> NDArray[np.float32]:
    """Twelve months with a hole in the middle and one near the corner."""
    rng = np.random.default_rng(4)
    values = rng.uniform(0, 200, size=(12, ROWS, COLUMNS)).astype(np.float32)
    values[:, 8:10, 11:14] = NODATA
    values[6, 1, 1] = NODATA
    return values


def write_year(path: Path, year: int, days: int) -> NDArray[np.float32]:
    """Write one year of one variable and return it, NaN without data."""
    rng = np.random.default_rng(year)
    values = rng.uniform(0, 30, size=(days, ROWS, COLUMNS)).astype(np.float32)
    values[:, 4, 5] = np.nan
    path.parent.mkdir(parents=True)
    with netCDF4.Dataset(path, "w") as dataset:
        for name, size in (("time", days), ("lat", ROWS), ("lon", COLUMNS)):
            dataset.createDimension(name, size)
            dataset.createVariable(name, "f8", (name,))
        dataset["time"].units = f"days since {year}-01-01"
        dataset["time"].calendar = "standard"
        dataset["time"][:] = np.arange(days)
        dataset["lat"][:] = NORTH - STEP * (np.arange(ROWS) + 0.5)
        dataset["lon"][:] = WEST + STEP * (np.arange(COLUMNS) + 0.5)
        dataset["lat"].units, dataset["lon"].units = "degrees_north", "degrees_east"
        data = dataset.createVariable("ppt", "f4", ("time", "lat", "lon"), fill_value=np.float32(NODATA))
        data.units = "mm"
        data[:] = np.ma.masked_invalid(values)
    return values


@pytest.fixture(scope="module")
def geodata(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Monthly precipitation, and daily for an ordinary and a leap year."""
    folder = tmp_path_factory.mktemp("geodata")
    write_vrt(
        *(
            write_raster(folder / MONTHLY / f"{month + 1:02}.tif", values, DEGREES, "EPSG:4326")
            for month, values in enumerate(monthly_values())
        )
    )
    write_year(folder / "daymet/daily/2019/ppt.nc", 2019, 365)
    write_year(folder / "daymet/daily/2020/ppt.nc", 2020, 365)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEODATA_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def client(geodata: Path) -> FlaskClient:
    """The service; an unexpected error inside it is a reply of status 500."""
    return app.test_client()


def ask(client: FlaskClient, path: str, **query: object) -> Answer:
    """Return the JSON of a question that must get status 200."""
    response = client.get(path, query_string=query)
    assert response.status_code == 200, response.data
    answer: Answer = strict_json(response.data)
    return answer


def monthly(client: FlaskClient, x: float, y: float, method: str | None = None) -> list[float | None]:
    query = {"method": method} if method else {}
    answer = ask(client, "/monthly", lat=y, lng=x, dataset=MONTHLY, **query)
    assert answer["Method"] == (method or "cubic")
    values: list[float | None] = answer["MonthlyValues"]
    assert len(values) == 12
    return values


def points(count: int, seed: int) -> list[tuple[float, float]]:
    rng = np.random.default_rng(seed)
    return [
        (WEST + STEP * rng.uniform(0, COLUMNS), NORTH - STEP * rng.uniform(0, ROWS)) for _ in range(count)
    ]


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
    # Half a cell out, cubic convolution of a repeated row weighs it 17/16 and the next one -1/16.
    weights = np.array([17, -1]) / 16 if method == "cubic" else np.array([1, 0])
    values = monthly_values()[:, ::-1, ::-1][:, :2, :2]
    found = monthly(client, *(DEGREES @ (COLUMNS - 1e-6, ROWS - 1e-6)), method)
    assert found == pytest.approx((values @ weights @ weights).tolist(), abs=0.01)
    inner = monthly(client, *(DEGREES @ (1e-6, ROWS - 1e-6)), "bilinear")
    assert inner == pytest.approx(monthly_values()[:, -1, 0].tolist(), abs=0.01)


@pytest.mark.parametrize(
    ("x", "y"), [(-117.0001, 46.9), (-116.759, 46.9), (-116.9, 47.0001), (-116.9, 46.819), (0, 0)]
)
def test_outside_there_is_no_climate(client: FlaskClient, x: float, y: float) -> None:
    for path, dataset in (("/monthly", MONTHLY), ("/daily_singlepoint", DAILY)):
        answer = ask(client, path, lat=y, lng=x, dataset=dataset, year=2019)
        assert answer == {"Error": "Location outside dataset extent"}


def test_days_at_a_point_equal_gdallocationinfo(client: FlaskClient, geodata: Path) -> None:
    where = points(12, 3)
    source = f'NETCDF:"{geodata}/daymet/daily/2019/ppt.nc":ppt'
    for (x, y), found in zip(where, values_at(source, where, "-geoloc"), strict=True):
        answer = ask(
            client, "/daily_singlepoint", lat=y, lng=x, dataset=DAILY, start_year=2019, end_year=2019
        )
        expected = [None if value == NODATA else value for value in found]
        assert answer["DailyValues"] == pytest.approx(expected, rel=1e-6)
        assert (answer["StartYear"], answer["EndYear"], len(expected)) == (2019, 2019, 365)


def test_a_leap_year_without_its_last_day_has_the_day_before_twice(client: FlaskClient) -> None:
    days = ask(
        client, "/daily_singlepoint", lat=46.9, lon=-116.9, dataset=DAILY, start_year=2019, end_year=2020
    )
    values = days["DailyValues"]
    assert len(values) == 365 + 366
    assert values[-1] == values[-2]
    assert (
        values[:365]
        == ask(client, "/daily_singlepoint", lat=46.9, lng=-116.9, dataset=DAILY, year=2019)["DailyValues"]
    )


def test_days_without_data_are_null(client: FlaskClient) -> None:
    x, y = DEGREES @ (5.5, 4.5)
    answer = ask(client, "/daily_singlepoint", lat=y, lng=x, dataset=DAILY, year=2019)
    assert answer["DailyValues"] == [None] * 365


@pytest.mark.parametrize("span", [{"year": 2019}, {"start_year": 2019, "end_year": 2020}])
def test_a_daily_crop_holds_exactly_the_cells_whose_centres_lie_in_the_box(
    client: FlaskClient, geodata: Path, span: dict[str, int]
) -> None:
    text = ",".join(map(str, BOX))
    response = client.get("/daily/", query_string={"bbox": text, "dataset": DAILY, **span})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/octet-stream"
    years = sorted(set(span.values()))
    assert json.loads(response.headers["Meta"]) == {
        "bbox": list(BOX), "dataset": DAILY, "start_year": years[0], "end_year": years[-1],
    }  # fmt: skip
    assert response.headers["Content-Disposition"].startswith("attachment; filename=daymet_daily_ppt_")
    longitudes = WEST + STEP * (np.arange(COLUMNS) + 0.5)
    latitudes = NORTH - STEP * (np.arange(ROWS) + 0.5)
    columns = (longitudes >= BOX[0]) & (longitudes <= BOX[2])
    rows = (latitudes >= BOX[1]) & (latitudes <= BOX[3])
    whole = []
    for year in years:
        with netCDF4.Dataset(geodata / f"daymet/daily/{year}/ppt.nc") as source:
            whole.append(source["ppt"][:][:, rows][:, :, columns])
    with netCDF4.Dataset("reply.nc", memory=response.data) as made:
        np.testing.assert_array_equal(
            np.ma.filled(made["ppt"][:], -1), np.ma.filled(np.ma.concatenate(whole), -1)
        )
        np.testing.assert_allclose(made["lon"][:], longitudes[columns])
        np.testing.assert_allclose(made["lat"][:], latitudes[rows])
        dates = netCDF4.num2date(made["time"][:], made["time"].units, made["time"].calendar)
        assert (dates[0].year, dates[-1].year) == (years[0], years[-1])
        assert [date.dayofyr for date in dates] == list(range(1, 366)) * len(years)
        assert made["ppt"].units == "mm"


def test_a_crop_is_netcdf_that_gdal_opens(client: FlaskClient, tmp_path: Path) -> None:
    query = {"bbox": list(BOX), "dataset": DAILY, "year": 2019}
    response = client.post("/daily", json=query)
    (tmp_path / "crop.nc").write_bytes(response.data)
    text = run("gdalinfo", str(tmp_path / "crop.nc"))
    assert "Driver: netCDF" in text
    assert "Band 365" in text


def test_projected_grids_are_cut_in_their_own_system(client: FlaskClient, geodata: Path) -> None:
    lambert = "+proj=lcc +lat_1=25 +lat_2=60 +lat_0=42.5 +lon_0=-100 +x_0=0 +y_0=0 +datum=WGS84 +units=m"
    text = run("gdaltransform", "-s_srs", "EPSG:4326", "-t_srs", lambert, stdin="-116.9 46.9\n")
    x, y = (float(part) for part in text.split()[:2])
    path = geodata / "daymet/daily/2021/tmin.nc"
    path.parent.mkdir(parents=True)
    with netCDF4.Dataset(path, "w") as dataset:
        for name, size in (("time", 365), ("y", 21), ("x", 31)):
            dataset.createDimension(name, size)
            dataset.createVariable(name, "f8", (name,))
        dataset["time"].units = "days since 2021-01-01"
        dataset["time"][:] = np.arange(365)
        dataset["x"][:] = x + 1000 * (np.arange(31) - 15)
        dataset["y"][:] = y - 1000 * (np.arange(21) - 10)
        mapping = dataset.createVariable("lcc", "i4")
        mapping.grid_mapping_name = "lambert_conformal_conic"
        mapping.standard_parallel = np.array([25.0, 60.0])
        mapping.latitude_of_projection_origin, mapping.longitude_of_central_meridian = 42.5, -100.0
        mapping.false_easting = mapping.false_northing = 0.0
        data = dataset.createVariable("tmin", "f4", ("time", "y", "x"))
        data.grid_mapping = "lcc"
        data[:] = np.arange(21 * 31, dtype=np.float32).reshape(1, 21, 31)
    days = ask(client, "/daily_singlepoint", lat=46.9, lng=-116.9, dataset="daymet/daily/tmin", year=2021)
    assert days["DailyValues"][0] == 10 * 31 + 15
    query = {"bbox": "-116.93,46.88,-116.87,46.92", "dataset": "daymet/daily/tmin", "year": 2021}
    with netCDF4.Dataset("reply.nc", memory=client.get("/daily", query_string=query).data) as made:
        assert 310 + 15 in made["tmin"][0]
        assert made["lcc"].grid_mapping_name == "lambert_conformal_conic"
        assert abs(float(made["x"][:].mean()) - x) < 2000


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


def test_files_that_can_not_be_read_are_told_without_their_place(client: FlaskClient, geodata: Path) -> None:
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

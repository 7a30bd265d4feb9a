"""Daily climate: points and crops against GDAL and NCO on the same files, and plain array arithmetic."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
from climate_service import (
    BOX,
    COLUMNS,
    DAILY,
    DEGREES,
    NORTH,
    ROWS,
    STEP,
    WEST,
    ask,
    make_climate,
    points,
)
from flask.testing import FlaskClient
from rasters import NODATA, run, values_at
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
        expected = np.concatenate([np.ma.filled(part, -1) for part in whole])
        np.testing.assert_array_equal(np.ma.filled(made["ppt"][:], -1), expected)
        np.testing.assert_allclose(made["lon"][:], longitudes[columns])
        np.testing.assert_allclose(made["lat"][:], latitudes[rows])
        dates: Any = netCDF4.num2date(made["time"][:], made["time"].units, made["time"].calendar)
        assert (dates[0].year, dates[-1].year) == (years[0], years[-1])
        assert [date.dayofyr for date in dates] == list(range(1, 366)) * len(years)
        assert made["ppt"].units == "mm"


def test_a_crop_equals_that_of_ncks(client: FlaskClient, geodata: Path, tmp_path: Path) -> None:
    source, theirs = geodata / "daymet/daily/2019/ppt.nc", tmp_path / "ncks.nc"
    west, south, east, north = (f"{degrees:.6f}" for degrees in BOX)
    run("ncks", "-d", f"lon,{west},{east}", "-d", f"lat,{south},{north}", str(source), str(theirs))
    query = {"bbox": f"{west},{south},{east},{north}", "dataset": DAILY, "year": 2019}
    with (
        netCDF4.Dataset("reply.nc", memory=client.get("/daily", query_string=query).data) as made,
        netCDF4.Dataset(theirs) as wanted,
    ):
        for name in ("ppt", "lon", "lat"):
            assert made[name].shape == wanted[name].shape
            np.testing.assert_array_equal(np.ma.filled(made[name][:], -1), np.ma.filled(wanted[name][:], -1))
        days: list[Any] = [netCDF4.num2date(file["time"][:], file["time"].units) for file in (made, wanted)]
        np.testing.assert_array_equal(*days)


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
        dataset["x"].standard_name, dataset["y"].standard_name = (
            "projection_x_coordinate",
            "projection_y_coordinate",
        )
        dataset["x"].units = dataset["y"].units = "m"
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

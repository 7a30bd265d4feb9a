"""The old raster service: the same crops as its successor, errors as old clients know them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import rasterio
from asgi import call
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from raster_service import BOX
from rasters import elevations, strict_json, write_raster, write_vrt
from wepppy.webservices import wmesque, wmesque2

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")  # pictures lie nowhere

MEDIA_TYPES = {
    "GTiff": "image/tiff",
    "AAIGrid": "text/plain; charset=utf-8",
    "PNG": "image/png",
    "ENVI": "application/octet-stream",
}


@pytest.fixture(scope="module")
def geodata(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Elevation and, without its palette, land cover."""
    folder = tmp_path_factory.mktemp("geodata")
    write_vrt(write_raster(folder / "ned1/2016/dem.tif", elevations()))
    write_vrt(write_raster(folder / "nlcd/2019/cover.tif", np.nan_to_num(elevations()).astype("int32")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEODATA_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def client(geodata: Path) -> FlaskClient:
    """The service; an unexpected error inside it is a reply of status 500."""
    return wmesque.app.test_client()


def refusal(client: FlaskClient, path: str, **query: str) -> str:
    """Return the text of an error, which has status 200."""
    response = client.get(path, query_string=query)
    assert response.status_code == 200
    answer = strict_json(response.data)
    assert list(answer) == ["Error"]
    message: str = answer["Error"]
    return message


@pytest.mark.parametrize("file_format", MEDIA_TYPES)
@pytest.mark.parametrize("mode", [None, "hillshade", "slope"])
def test_crops_equal_those_of_the_successor(client: FlaskClient, file_format: str, mode: str | None) -> None:
    query = {"bbox": BOX, "format": file_format, "cellsize": "40", **({"gdaldem": mode} if mode else {})}
    old = client.get("/ned1/2016/", query_string=query)
    new = call(wmesque2.app, "GET", "/retrieve/ned1/2016", query)
    assert (old.status_code, old.headers["Content-Type"]) == (200, MEDIA_TYPES[file_format])
    assert old.data == new.content
    assert old.headers["WMesque-Meta"] == new.headers["wmesque-meta"]
    assert old.headers["Content-Disposition"].startswith("attachment; filename=ned1_2016.")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, "bbox: Field required"),
        ({"bbox": "1,2,3"}, "Invalid bbox format. Use four comma-separated floats: left,bottom,right,top"),
        (
            {"bbox": BOX, "cellsize": "x"},
            "cellsize: Input should be a valid number, unable to parse string as a number",
        ),
        ({"bbox": BOX, "cellsize": "0.5"}, "cellsize: Input should be greater than or equal to 1"),
        ({"bbox": BOX, "cellsize": "nan"}, "cellsize: Input should be a finite number"),
        ({"bbox": BOX, "format": "JPEG"}, "format: Input should be 'GTiff', 'AAIGrid', 'PNG' or 'ENVI'"),
        ({"bbox": "-120,40,-110,47"}, "Output size cannot exceed 4096x4096 pixels"),
        (
            {"bbox": "1,86,2,87"},
            "bbox has its upper left corner outside of the latitudes of UTM, -80 to 84 degrees",
        ),
    ],
)
def test_refusals_have_status_200(client: FlaskClient, query: dict[str, str], message: str) -> None:
    assert refusal(client, "/ned1/2016", **query) == message


def test_unknown_datasets_and_misplaced_relief_are_refused(client: FlaskClient, geodata: Path) -> None:
    assert refusal(client, "/ned1/2099", bbox=BOX) == "Cannot find dataset: ned1/2099"
    assert refusal(client, "/ned1/%2e%2e/%2e%2e/etc", bbox=BOX) == "Invalid dataset path."
    assert "gdaldem" in refusal(client, "/nlcd/2019", bbox=BOX, gdaldem="slope")
    assert str(geodata) not in refusal(client, "/ned1/2099/a/b/c/d/e", bbox=BOX)


def test_a_text_raster_of_nearly_whole_numbers_is_read_as_measurements(
    client: FlaskClient, geodata: Path, tmp_path: Path
) -> None:
    # GDAL distinguishes whole numbers from others by the first 100 KB only.
    values = np.full((300, 300), 7, dtype=np.float32)
    values[-1, -1] = 7.25
    write_vrt(write_raster(geodata / "ned1/2020/dem.tif", values))
    zone = "-116.89,46.79,-116.77,46.86"
    response = client.get("/ned1/2020", query_string={"bbox": zone, "format": "AAIGrid", "resample": "near"})
    (tmp_path / "crop.asc").write_bytes(response.data)
    with rasterio.open(tmp_path / "crop.asc") as dataset:
        found = dataset.read(1, masked=True)
    assert set(np.unique(found.compressed())) == {7.0, 7.25}
    shutil.rmtree(geodata / "ned1/2020")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/ned1/2016", 405), ("GET", "/ned1", 404), ("GET", "/", 404), ("GET", "/a/b/c/d/e/f/g/h", 404)],
)
def test_unknown_routes_and_methods_are_refused(
    client: FlaskClient, method: str, path: str, status: int
) -> None:
    response = client.open(path, method=method)
    assert response.status_code == status
    assert list(strict_json(response.data)) == ["Error"]


def test_health_is_honest_and_the_catalogue_is_short(
    client: FlaskClient, geodata: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/health").get_json() == "OK"
    assert client.get("/catalog").get_json() == ["ned1/2016/.vrt", "nlcd/2019/.vrt"]
    monkeypatch.setenv("GEODATA_DIR", str(geodata / "gone"))
    response = client.get("/health")
    assert (response.status_code, response.get_json()) == (503, {"Error": "the geodata volume is missing"})


_WORDS = (
    st.text(max_size=20)
    | st.floats().map(repr)
    | st.sampled_from(["", BOX, "PNG", "near", "slope", "\0", "40"])
)


@settings(deadline=None, max_examples=150)
@given(
    query=st.dictionaries(st.sampled_from(["bbox", "cellsize", "format", "resample", "gdaldem"]), _WORDS),
    path=st.just("ned1/2016") | st.text(max_size=20),
)
def test_no_parameter_gets_anything_but_a_raster_or_a_refusal(
    client: FlaskClient, geodata: Path, query: dict[str, str], path: str
) -> None:
    clean = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}
    response = client.get("/" + quote(path, safe="/", errors="replace"), query_string=clean)
    assert response.status_code in (200, 308, 404)
    if (
        response.status_code != 308
        and response.mimetype == "application/json"
        and path not in ("health", "catalog")
    ):
        assert list(strict_json(response.data)) == ["Error"]
    assert str(geodata).encode() not in response.data[:2000]

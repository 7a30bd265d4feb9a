"""The raster service against gdalwarp and gdaldem, and against everything that is not a request."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import rasterio
from affine import Affine
from asgi import Reply, begun, call
from hypothesis import given, settings
from hypothesis import strategies as st
from raster_service import BOX, get, make_geodata, meta_of, pixels
from rasters import (
    CELL,
    LEFT,
    TOP,
    UTM,
    completed,
    elevations,
    run,
    strict_json,
    write_end,
    write_raster,
    write_vrt,
)
from wepppy.webservices.wmesque2 import app

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")  # pictures lie nowhere


def warped(source: Path, target: Path, meta: dict[str, Any], resample: str, *options: str) -> np.ndarray:
    """Return what gdalwarp makes of the source on the grid that a reply describes."""
    extent = [repr(number) for number in meta["bounds"]]
    cell = repr(meta["cellsize"])
    grid = ["-t_srs", meta["crs"], "-te", *extent, "-tr", cell, cell]
    run("gdalwarp", "-q", "-overwrite", "-r", resample, *grid, *options, str(source), str(target))
    with rasterio.open(target) as dataset:
        values: np.ndarray = dataset.read()
        return values


@pytest.fixture(scope="module", autouse=True)
def geodata(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The volume that the service reads."""
    with pytest.MonkeyPatch.context() as patch:
        folder = make_geodata(tmp_path_factory.mktemp("geodata"))
        patch.setenv("GEODATA_DIR", str(folder))
        yield folder


RESAMPLINGS = (
    "near", "bilinear", "cubic", "cubicspline", "average", "rms", "max", "min", "med", "q1", "q3", "sum",
)  # fmt: skip
GRIDS = ((30, "ned1/2016"), (11.5, "ned1/2016"), (90, "ned1/2016"), (40, "nlcd/2019"))
# GDAL changed how Lanczos shrinks, and which of equally frequent codes is the mode: versions agree elsewhere only.
CROPS = [
    *((name, *grid) for name in RESAMPLINGS for grid in GRIDS),
    *(("lanczos", *grid) for grid in GRIDS[:2]),
    *(("mode", *grid) for grid in GRIDS[:3]),
]


@pytest.mark.parametrize(("resample", "cellsize", "dataset"), CROPS)
def test_a_crop_equals_gdalwarp(
    geodata: Path, tmp_path: Path, resample: str, cellsize: float, dataset: str
) -> None:
    response = get(dataset, cellsize=cellsize, resample=resample)
    assert response.status_code == 200
    ours, profile = pixels(response.content)
    theirs = warped(geodata / dataset / ".vrt", tmp_path / "warped.tif", meta_of(response.headers), resample)
    assert (profile["driver"], profile["crs"]) == ("GTiff", rasterio.crs.CRS.from_epsg(32611))
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours == profile["nodata"], theirs == profile["nodata"])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert (ours != profile["nodata"]).mean() > 0.7


def test_a_crop_from_degrees_has_all_bands_of_gdalwarp(geodata: Path, tmp_path: Path) -> None:
    response = get("daymet/monthly/ppt", bbox="-116.95,46.75,-116.8,46.9", cellsize=250)
    ours, _ = pixels(response.content)
    theirs = warped(
        geodata / "daymet/monthly/ppt/.vrt", tmp_path / "w.tif", meta_of(response.headers), "bilinear"
    )
    assert ours.shape[0] == 12
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_the_grid_holds_the_whole_box_in_utm_of_its_upper_left_corner(geodata: Path) -> None:
    west, south, east, north = map(float, BOX.split(","))
    shares = np.linspace(0, 1, 200)
    across, up = west + shares * (east - west), south + shares * (north - south)
    edge = [(x, y) for x in across for y in (south, north)] + [(x, y) for y in up for x in (west, east)]
    text = run(
        "gdaltransform", "-s_srs", "EPSG:4326", "-t_srs", UTM, stdin="".join(f"{x} {y}\n" for x, y in edge)
    )
    xs, ys = np.array([line.split()[:2] for line in text.splitlines()], dtype=float).T
    meta = meta_of(get().headers)
    left, bottom, right, top = meta["bounds"]
    assert (left, top) == (pytest.approx(xs.min(), abs=0.1), pytest.approx(ys.max(), abs=0.1))
    # The other two sides are rounded to whole cells.
    assert (right, bottom) == (pytest.approx(xs.max(), abs=CELL / 2), pytest.approx(ys.min(), abs=CELL / 2))
    assert (meta["width"], meta["height"]) == ((right - left) / CELL, (top - bottom) / CELL)
    assert meta["crs"] == UTM


@pytest.mark.parametrize(
    ("box", "crs"),
    [
        ("-0.01,-0.01,0.01,-0.001", "EPSG:32730"),
        ("0,0,0.01,0.01", "EPSG:32631"),
        ("5,60,5.01,60.01", "EPSG:32632"),
        ("10,78,10.01,78.01", "EPSG:32633"),
        ("179.9,10,180,10.01", "EPSG:32660"),
        ("-180,10,-179.99,10.01", "EPSG:32601"),
    ],
)
def test_zones_follow_longitude_hemisphere_and_the_exceptions_in_the_north(box: str, crs: str) -> None:
    assert meta_of(get(bbox=box).headers)["crs"] == crs


def test_a_box_in_another_system_is_cut_exactly_there(geodata: Path, tmp_path: Path) -> None:
    box = [LEFT + 300, TOP - 3000, LEFT + 3300, TOP - 600]
    response = get(bbox=",".join(map(str, box)), bbox_crs=UTM)
    ours, profile = pixels(response.content)
    assert meta_of(response.headers)["bounds"] == box
    with rasterio.open(geodata / "ned1/2016/dem.tif") as dataset:
        inner = dataset.read(1)[20:100, 10:110]
    np.testing.assert_array_equal(ours[0], inner)
    assert profile["transform"] == Affine(CELL, 0, box[0], 0, -CELL, box[3])
    feet = get(bbox="2490000,250000,2500000,260000", bbox_crs="EPSG:2286", cellsize=100)
    assert meta_of(feet.headers)["crs"] == "EPSG:2286"


def test_replies_are_attachments_with_headers_that_scripts_may_read(geodata: Path) -> None:
    response = get()
    assert response.headers["content-type"] == "image/tiff"
    assert response.headers["content-disposition"] == "attachment; filename=ned1_2016.tif"
    assert response.headers["access-control-expose-headers"] == "WMesque-Meta"
    assert "=" not in response.headers["wmesque-meta"]


@pytest.mark.parametrize(
    ("status", "query"),
    [
        (422, {"cellsize": "0"}),
        (422, {"cellsize": "-1"}),
        (422, {"cellsize": "nan"}),
        (422, {"cellsize": "inf"}),
        (422, {"cellsize": "x"}),
        (422, {"format": "tiff"}),
        (422, {"resample": "best"}),
        (422, {"gdaldem": "hill"}),
        (400, {"cellsize": "0.1"}),
        (400, {"cellsize": "1e-320"}),
        (400, {"cellsize": "1e9"}),
        (400, {"bbox": ""}),
        (400, {"bbox": "1,2,3"}),
        (400, {"bbox": "1,2,3,4,5"}),
        (400, {"bbox": "1,2,nan,4"}),
        (400, {"bbox": "3,2,1,4"}),
        (400, {"bbox": "1,2,1,4"}),
        (400, {"bbox": "a,b,c,d"}),
        (400, {"bbox": "-181,1,2,2"}),
        (400, {"bbox": "1,86,2,87"}),
        (400, {"bbox": "1,-88,2,-87"}),
        (400, {"bbox": "-180,-80,180,80"}),
        (400, {"bbox_crs": "EPSG:4326"}),
        (400, {"bbox_crs": "nonsense"}),
        (400, {"bbox_crs": "+init=/etc/passwd:1"}),
    ],
)
def test_bad_parameters_are_refused(status: int, query: dict[str, str]) -> None:
    response = get(**query)
    assert response.status_code == status
    detail = strict_json(response.content)["detail"]
    assert isinstance(detail, str if status == 400 else list)
    assert detail


@pytest.mark.parametrize("crs", [UTM, "EPSG:3857", "EPSG:2286", "+proj=ortho +lat_0=47 +lon_0=-116"])
@pytest.mark.parametrize("scale", [1.0, 1e5, 1e8, 1e13, 1e30, 1e300])
def test_boxes_far_out_in_a_system_are_empty_or_refused(crs: str, scale: float) -> None:
    box = ",".join(repr(scale * part) for part in (-3, 4, 5, 12))
    response = get(bbox=box, bbox_crs=crs, cellsize=scale)
    assert response.status_code in (200, 400)
    if response.status_code == 200:
        assert meta_of(response.headers)["width"] == 8


def test_a_missing_box_is_a_validation_error(geodata: Path) -> None:
    response = call(app, "GET", "/retrieve/ned1/2016")
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", "bbox"]


@pytest.mark.parametrize(
    "dataset",
    ["%2e%2e/ned1", "ned1/%2e%2e/%2e%2e/etc", ".hidden", "a%00b", "%2fetc", "a/b/c/d/e/f/g/h", "x" * 300, ""],
)
def test_paths_that_leave_the_geodata_are_refused(dataset: str, geodata: Path) -> None:
    response = get(dataset)
    assert response.status_code in (400, 404)
    assert str(geodata) not in response.text


def test_an_unknown_dataset_is_named_without_its_place(geodata: Path) -> None:
    response = get("ned1/2099")
    assert response.status_code == 404
    assert response.json() == {"detail": "Cannot find dataset: ned1/2099"}
    (geodata / "out").mkdir()
    (geodata / "out/.vrt").symlink_to("/etc/hostname")
    assert get("out").status_code == 404


def test_datasets_that_do_not_fit_are_refused(geodata: Path) -> None:
    assert get("nlcd/2019", gdaldem="slope").status_code == 400
    for file_format in ("PNG", "AAIGrid"):
        assert get("daymet/monthly/ppt", format=file_format, cellsize=300).status_code == 400
    (geodata / "broken/2020").mkdir(parents=True)
    (geodata / "broken/2020/.vrt").write_text("<VRTDataset>")
    response = get("broken/2020")
    assert (response.status_code, response.json()) == (400, {"detail": "The dataset can't be warped."})


def test_the_catalogue_lists_what_is_there(geodata: Path) -> None:
    known = {"daymet/monthly/ppt/.vrt", "ned1/2016/.vrt", "nlcd/2019/.vrt"}
    assert known <= set(call(app, "GET", "/catalog").json())
    (geodata / "catalog.json").write_text('["ned1/2016/.vrt", "gone/2016/.vrt", "/etc/passwd", 7]')
    assert call(app, "GET", "/catalog").json() == ["ned1/2016/.vrt"]
    (geodata / "catalog.json").unlink()


def test_health_is_honest(geodata: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    response = call(app, "GET", "/health")
    assert (response.status_code, response.json()) == (200, {"status": "OK"})
    monkeypatch.setenv("GEODATA_DIR", str(geodata / "gone"))
    response = call(app, "GET", "/health")
    assert response.status_code == 503
    assert response.json()["detail"] == "the geodata volume is missing"


def test_many_at_once_get_the_same_bytes(geodata: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        bodies = list(pool.map(lambda _: get(gdaldem="hillshade", format="PNG").content, range(12)))
    assert len(set(bodies)) == 1


@pytest.mark.parametrize(("cellsize", "places"), [(3, 5), (30, 18)])
def test_while_crops_are_slow_health_answers_and_excess_requests_get_the_time_to_retry(
    geodata: Path, tmp_path: Path, cellsize: int, places: int
) -> None:
    slow = write_vrt(write_raster(geodata / f"ned1/slow{cellsize}/dem.tif", elevations()))
    tiles = slow.with_name("dem.tif")
    tiles.rename(tmp_path / "dem.tif")
    os.mkfifo(tiles)  # opening it waits for a writer
    path = f"/retrieve/ned1/slow{cellsize}".encode()
    query = f"bbox={BOX}&cellsize={cellsize}".encode()

    async def all_at_once() -> list[Reply]:
        crops = [asyncio.create_task(begun(app, "GET", path, query)) for _ in range(45)]
        refused = await completed(crops, 45 - places)
        assert {reply.status_code for reply in refused} == {503}
        assert (await begun(app, "GET", b"/health")).status_code == 200
        writer = await write_end(tiles)
        (tmp_path / "dem.tif").replace(tiles)
        os.close(writer)
        return await asyncio.gather(*crops)

    busy = [reply for reply in asyncio.run(all_at_once()) if reply.status_code == 503]
    assert len(busy) == 45 - places
    assert {reply.headers["retry-after"] for reply in busy} == {"5"}
    assert {reply.json()["detail"] for reply in busy} == {"The service is busy. Try again in a moment."}


def test_nothing_is_left_in_the_scratch_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where Python and GDAL put scratch files, and the working directory where careless names would land.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CPL_TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(tmp_path)
    for file_format in ("GTiff", "AAIGrid", "PNG", "ENVI"):
        for mode in (None, "slope"):
            query = {} if mode is None else {"gdaldem": mode}
            assert get(format=file_format, **query).status_code == 200
    assert os.listdir(tmp_path) == []  # noqa: PTH208


_WORDS = st.one_of(
    st.text(max_size=30),
    st.floats().map(repr),
    st.sampled_from(
        ["", BOX, "0", "30", "1e-9", "GTiff", "PNG", "near", "hillshade", UTM, "EPSG:3857", "\0", "../.."]
    ),
)
_BOXES = st.lists(st.floats(-200, 200) | st.floats(), min_size=3, max_size=5).map(
    lambda box: ",".join(map(repr, box))
)
_QUERIES = st.fixed_dictionaries(
    {"bbox": st.one_of(st.just(BOX), _BOXES, _WORDS)},
    optional={
        "cellsize": _WORDS | st.floats(20, 500).map(repr),
        "format": _WORDS,
        "resample": _WORDS,
        "gdaldem": _WORDS,
        "bbox_crs": _WORDS,
    },
)


@settings(deadline=None, max_examples=200)
@given(
    query=_QUERIES,
    dataset=st.sampled_from(["ned1/2016", "nlcd/2019", "daymet/monthly/ppt"]) | st.text(max_size=20),
)
def test_no_parameter_gets_anything_but_a_raster_or_a_refusal(
    geodata: Path, query: dict[str, str], dataset: str
) -> None:
    response = call(app, "GET", f"/retrieve/{quote(dataset, safe='/', errors='replace')}", query)
    assert response.status_code in (200, 307, 400, 404, 422)
    if response.status_code == 200:
        assert meta_of(response.headers)["dataset"] == "/".join(filter(None, dataset.split("/")))
    else:
        assert strict_json(response.content)["detail"]
    assert str(geodata) not in response.text[:2000]

"""The elevation service against gdallocationinfo, and against everything that is not a question."""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import numpy as np
import pyproj
import pytest
from affine import Affine
from asgi import Reply, begun, call, exchange
from conftest import RedisServer
from hypothesis import given, settings
from hypothesis import strategies as st
from rasters import (
    CELL,
    HEIGHT,
    LEFT,
    NODATA,
    TOP,
    UTM,
    WIDTH,
    elevations,
    strict_json,
    values_at,
    write_raster,
)
from wepppy.microservices.elevationquery import SITE_PREFIX, app
from wepppy.webservices.raster_crs import parse_crs

RUN = "sample-run"
Answer = dict[str, Any]
EXPECTED = (
    "lat not supplied",
    "lng not supplied",
    "could not parse lat",
    "could not parse lng",
    "Could not transform lng, lat to wgs",
    "Run '",
    "Pup project '",
    "DEM not found under run directory",
    "Location outside DEM extent",
    "No elevation data at requested location",
    "DEM missing coordinate reference system",
)


def ask(run: str = RUN, body: object = None, **query: Any) -> Answer:
    """Return the answer to a question that must get status 200."""
    path = f"{SITE_PREFIX}/runs/{run}/sample/elevationquery"
    text = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    method = "GET" if body is None else "POST"
    reply = call(app, method, path, query, text)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    return checked(reply.content)


def checked(content: bytes) -> Answer:
    """Return an answer after holding it against the shape of all answers."""
    answer: Answer = strict_json(content)
    assert set(answer) - {"Error"} == {"Elevation", "Units", "Longitude", "Latitude"}
    assert answer["Units"] == "m"
    assert (answer["Elevation"] is None) == ("Error" in answer)
    return answer


@pytest.fixture(scope="module", autouse=True)
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A runs volume with one run, and an empty geodata volume."""
    folder = tmp_path_factory.mktemp("volumes")
    write_raster(folder / f"wc1/runs/sa/{RUN}/dem/dem.tif", elevations())
    make_public(folder / f"wc1/runs/sa/{RUN}")
    (folder / "geodata").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WC1_DIR", str(folder / "wc1"))
        patch.setenv("GEODATA_DIR", str(folder / "geodata"))
        yield folder


@pytest.fixture
def new_run(volumes: Path, request: pytest.FixtureRequest) -> Path:
    """The directory of another run, still without a terrain model."""
    folder = volumes / "wc1/runs/ne" / new_name(request)
    folder.mkdir(parents=True)
    make_public(folder)
    return folder


def make_public(folder: Path) -> None:
    """Make a folder a run that everybody may read."""
    (folder / "ron.nodb").write_text("{}")
    (folder / "PUBLIC").touch()


def new_name(request: pytest.FixtureRequest) -> str:
    return f"new-{abs(hash(request.node.name))}"


def dem(volumes: Path) -> Path:
    return volumes / f"wc1/runs/sa/{RUN}/dem/dem.tif"


def test_elevation_equals_gdallocationinfo_in_every_corner_and_all_over(volumes: Path) -> None:
    rng = np.random.default_rng(1)
    right, bottom = LEFT + WIDTH * CELL, TOP - HEIGHT * CELL
    points = [(rng.uniform(LEFT - 90, right + 90), rng.uniform(bottom - 90, TOP + 90)) for _ in range(150)]
    tiny = 1e-4
    points += [
        (x, y)
        for x in (LEFT, LEFT + tiny, right - tiny, right)
        for y in (TOP, TOP - tiny, bottom + tiny, bottom)
    ]
    points += [
        (LEFT + CELL * column, TOP - CELL * row) for column, row in ((90, 60), (97, 66), (30, 20), (1, 1))
    ]
    for (x, y), found in zip(points, values_at(dem(volumes), points, "-geoloc"), strict=True):
        answer = ask(lat=y, lng=x, srs=UTM)
        if not found:
            assert answer["Error"] == "Location outside DEM extent", (x, y)
        elif found[0] == NODATA or math.isnan(found[0]):
            assert answer["Error"] == "No elevation data at requested location", (x, y)
        else:
            assert answer["Elevation"] == pytest.approx(found[0], abs=1e-4), (x, y)


def test_elevation_at_degrees_equals_gdallocationinfo(volumes: Path) -> None:
    rng = np.random.default_rng(2)
    points = [(rng.uniform(-116.89, -116.83), rng.uniform(46.84, 46.87)) for _ in range(60)]
    compared = 0
    for (lng, lat), found in zip(points, values_at(dem(volumes), points, "-wgs84"), strict=True):
        answer = ask(lat=lat, lng=lng)
        assert (answer["Longitude"], answer["Latitude"]) == (lng, lat)
        if found and found[0] != NODATA:
            compared += 1
            assert answer["Elevation"] == pytest.approx(found[0], abs=1e-4)
        else:
            assert answer["Elevation"] is None
    assert compared > 30


@pytest.mark.parametrize(
    "srs", ["EPSG:26911", "32611", "+proj=utm +zone=11 +datum=WGS84", "EPSG:3857", "EPSG:2286"]
)
def test_any_reference_system_is_understood_and_answered_in_degrees(srs: str) -> None:
    from pyproj import Transformer

    lng, lat = -116.87, 46.855
    crs = f"EPSG:{srs}" if srs.isdigit() else srs
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lng, lat)
    answer = ask(lat=y, lng=x, srs=srs)
    assert answer["Longitude"] == pytest.approx(lng, abs=1e-4)
    assert answer["Latitude"] == pytest.approx(lat, abs=1e-4)
    assert answer["Elevation"] == ask(lat=lat, lng=lng)["Elevation"]


@pytest.mark.parametrize(
    "srs",
    [
        "nonsense",
        "EPSG:99999999",
        "EPSG:4978",  # geocentric
        "EPSG:5773",  # vertical
        "+init=/etc/passwd:1",
        "+proj=longlat +nadgrids=/etc/passwd",
        "+proj=utm +zone=99",
        "x" * 10_000,
        "\x00",
    ],
)
def test_a_reference_system_that_is_none_has_no_coordinates(srs: str) -> None:
    answer = ask(lat=1, lng=2, srs=srs)
    assert answer == {
        "Elevation": None, "Units": "m", "Longitude": None, "Latitude": None, "Error": EXPECTED[4],
    }  # fmt: skip


@pytest.mark.parametrize(
    "srs",
    ["NAD83 / UTM zone 11N", "nad83 / utm zone 11n", "WGS84", "WGS 84", "urn:ogc:def:crs:EPSG::26911",
     "http://www.opengis.net/def/crs/EPSG/0/26911", "proj=utm zone=11 datum=WGS84"],
)  # fmt: skip
def test_a_reference_system_is_found_by_its_full_name_and_by_addresses(srs: str) -> None:
    from pyproj import CRS

    expected = CRS.from_user_input(srs)
    assert parse_crs(srs).equals(expected.to_2d())


def test_a_name_that_is_none_is_not_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # PROJ's own search takes seconds, during which Python runs nothing else.
    given: list[str] = []
    original = pyproj.CRS.from_user_input
    monkeypatch.setattr(
        pyproj.CRS, "from_user_input", lambda value, **more: given.append(value) or original(value, **more)
    )
    for srs in ("nonsense", "WGS 84 / UTM zone 99Q", "nonsense[x]", "EPSG:26911 or so", "x" * 4000, "EPSG"):
        assert ask(lat=1, lng=2, srs=srs)["Error"] == EXPECTED[4]
    assert set(given) <= {""}


def test_while_a_terrain_model_is_slow_health_answers_and_who_is_too_many_is_told_when_to_come_again(
    new_run: Path, request: pytest.FixtureRequest
) -> None:
    (new_run / "dem").mkdir()
    slow = new_run / "dem/dem.tif"
    os.mkfifo(slow)  # opening it waits for somebody who writes
    path = f"{SITE_PREFIX}/runs/{new_name(request)}/sample/elevationquery".encode()

    async def all_at_once() -> list[Reply]:
        questions = [asyncio.create_task(begun(app, "GET", path, b"lat=1&lng=2")) for _ in range(80)]
        refused, _ = await asyncio.wait(questions, return_when=asyncio.FIRST_COMPLETED)
        assert (await begun(app, "GET", b"/health")).status_code == 200
        assert {each.result().status_code for each in refused} == {503}
        slow.rename(slow.with_name("opened"))
        await asyncio.to_thread(lambda: slow.with_name("opened").open("wb").close())
        return await asyncio.gather(*questions)

    replies = asyncio.run(all_at_once())
    busy = [reply for reply in replies if reply.status_code == 503]
    assert len(busy) == 80 - 65
    assert {reply.headers["retry-after"] for reply in busy} == {"5"}
    assert {checked(reply.content)["Error"] for reply in busy} == {
        "The service is busy. Try again in a moment."
    }
    assert {reply.status_code for reply in replies} == {200, 503}


def test_the_elevation_of_a_private_run_is_for_who_may_read_it(
    new_run: Path, request: pytest.FixtureRequest, redis_env: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wepppy.microservices import browse_access

    secret = "a secret that is long enough for HS256"
    monkeypatch.setenv("WEPP_AUTH_JWT_SECRETS", secret)
    browse_access._denylist.cache_clear()
    (new_run / "dem").mkdir()
    write_raster(new_run / "dem/dem.tif", elevations())
    (new_run / "PUBLIC").unlink()
    name, point = new_name(request), {"lat": 46.855, "lng": -116.87}
    private, absent = ask(run=name, **point), ask(run="no-such-run", **point)
    assert private == {**absent, "Error": f"Run '{name}' not found"}
    claims = {"aud": "rq-engine", "jti": "one", "exp": 2**33, "runid": name}
    cookie = f"wepp_browse_jwt={jwt.encode(claims, secret, 'HS256')}"
    path = f"{SITE_PREFIX}/runs/{name}/sample/elevationquery".encode()
    reply = exchange(app, "GET", path, b"lat=46.855&lng=-116.87", {"host": "localhost", "cookie": cookie})
    assert checked(reply.content)["Elevation"] is not None


def test_parameters_come_from_the_query_first_and_from_the_body_else() -> None:
    from_query = ask(lat=46.855, lng=-116.87)
    assert from_query["Elevation"] is not None
    assert ask(body={"lat": 46.855, "lng": "-116.87"}) == from_query
    assert ask(body={"lat": 0, "lng": -116.87}, lat=46.855) == from_query


@pytest.mark.parametrize("body", [b"", b"[1, 2]", b"null", b"7", b"{", b"\xff", b"[" * 60_000, b'{"lat": 1'])
def test_a_body_that_is_no_object_supplies_nothing(body: bytes) -> None:
    assert ask(body=body)["Error"] == "lat not supplied"


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "x", "1e999", "0x10", "1,5"])
def test_what_is_no_number_is_named(text: str) -> None:
    assert ask(lat=text, lng=1)["Error"] == "could not parse lat"
    assert ask(lat=1, lng=text)["Error"] == "could not parse lng"


def test_numbers_of_json_that_are_none_are_named() -> None:
    for value in (math.nan, math.inf, True, [1], {"a": 1}, 10**400):
        assert ask(body={"lat": value, "lng": 1})["Error"] == "could not parse lat"


def test_a_body_too_large_is_refused_in_the_same_shape() -> None:
    path = f"{SITE_PREFIX}/runs/{RUN}/sample/elevationquery"
    reply = call(app, "POST", path, body=b" " * 70_000)
    assert reply.status_code == 413
    assert checked(reply.content)["Error"] == "Request body too large"


def test_unknown_runs_are_named_and_nothing_else_is_told(volumes: Path) -> None:
    for run in ("nobody", "..", "a" * 300, "batch;;x", "%00", "ünbekannt"):
        answer = ask(run=run, lat=1, lng=2)
        assert answer["Error"].startswith("Run '")
        assert str(volumes) not in answer["Error"]


def test_the_raster_is_the_first_of_the_names_that_runs_use(
    new_run: Path, request: pytest.FixtureRequest
) -> None:
    name, point = new_name(request), {"lat": TOP - 100, "lng": LEFT + 100, "srs": UTM}

    def level(height: float) -> np.ndarray:
        return np.full((20, 20), height, dtype=np.float32)

    assert ask(run=name, **point)["Error"] == "DEM not found under run directory"
    for height, file in ((1, "b.TIF"), (2, "a.tif"), (3, "dem.tiff"), (4, "dem.tif")):
        write_raster(new_run / "dem" / file, level(height))
        assert ask(run=name, **point)["Elevation"] == height
    (new_run / "dem").rename(new_run / "old")
    write_raster(new_run / "other.tif", level(5)).rename(new_run / "dem")
    assert ask(run=name, **point)["Elevation"] == 5


def test_a_replaced_raster_is_seen_at_once(new_run: Path, request: pytest.FixtureRequest) -> None:
    name, point = new_name(request), {"lat": TOP - 100, "lng": LEFT + 100, "srs": UTM}
    path = new_run / "dem/dem.tif"
    for height in (11, 12, 13):
        write_raster(new_run / "new.tif", np.full((20, 20), height, dtype=np.float32))
        os.utime(new_run / "new.tif", (1, 1))
        path.parent.mkdir(exist_ok=True)
        (new_run / "new.tif").replace(path)
        assert ask(run=name, **point)["Elevation"] == height


def test_rotated_and_large_and_scaled_rasters_are_sampled_where_gdal_samples_them(
    new_run: Path, request: pytest.FixtureRequest
) -> None:
    import rasterio

    rng = np.random.default_rng(3)
    turned = Affine.translation(LEFT, TOP) @ Affine.rotation(30) @ Affine.scale(7, -13)
    large = rng.integers(0, 4000, size=(1500, 1500)).astype(np.int16)
    path = write_raster(new_run / "dem/dem.tif", large, turned, nodata=None)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.5,), (100.0,)
    points = [turned @ (rng.uniform(-50, 1550), rng.uniform(-50, 1550)) for _ in range(60)]
    for (x, y), found in zip(points, values_at(path, points, "-geoloc"), strict=True):
        answer = ask(run=new_name(request), lat=y, lng=x, srs=UTM)
        assert answer["Elevation"] == (found[0] * 0.5 + 100 if found else None)


def test_rasters_that_can_not_be_used_say_why(
    new_run: Path, request: pytest.FixtureRequest, volumes: Path
) -> None:
    name, point = new_name(request), {"lat": 1, "lng": 2}
    path = write_raster(new_run / "dem/dem.tif", elevations(), crs=None)
    assert ask(run=name, **point)["Error"] == "DEM missing coordinate reference system"
    path.write_bytes(b"II*\0 no more of it")
    answer = ask(run=name, **point)
    assert answer["Error"] == "Unexpected error sampling elevation"
    path.unlink()
    outside = write_raster(volumes / "private.tif", elevations())
    path.symlink_to(outside)
    assert ask(run=name, **point)["Error"] == "Unexpected error sampling elevation"


def test_a_project_inside_the_run_has_its_own_raster(volumes: Path) -> None:
    run = volumes / f"wc1/runs/sa/{RUN}"
    write_raster(run / "_pups/omni/scenarios/thin/dem/dem.tif", np.full((20, 20), 7, dtype=np.float32))
    point: Answer = {"lat": TOP - 100, "lng": LEFT + 100, "srs": UTM}
    assert ask(pup="omni/scenarios/thin", **point)["Elevation"] == 7
    (run / "_pups/out").symlink_to(volumes)
    for pup in (
        "none",
        "..",
        "../..",
        "omni/../..",
        "/etc",
        "out",
        "a\\b",
        "a\0b",
        "x" * 500,
        ".",
        "omni//scenarios",
    ):
        assert ask(pup=pup, **point)["Error"] == f"Pup project '{pup}' not found for run '{RUN}'"
    for value in (["omni"], {"a": 1}, 5, True):
        assert ask(body={"pup": value}, **point)["Error"].startswith("Pup project '")


def test_health_is_honest(volumes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reply = call(app, "GET", "/health")
    assert (reply.status_code, reply.content) == (200, b"OK")
    assert reply.headers["content-type"].startswith("text/plain")
    monkeypatch.setenv("WC1_DIR", str(volumes / "gone"))
    reply = call(app, "GET", "/health")
    assert (reply.status_code, reply.content) == (503, b"the runs volume is missing")


def test_unknown_routes_and_methods_keep_the_shape() -> None:
    query = f"{SITE_PREFIX}/runs/{RUN}/sample/elevationquery"
    for method, path, status in (("GET", "/", 404), ("GET", query + "/x", 404), ("PUT", query, 405)):
        reply = call(app, method, path)
        assert reply.status_code == status
        assert checked(reply.content)["Error"]


_TEXTS = st.one_of(
    st.text(max_size=40),
    st.floats().map(repr),
    st.sampled_from(
        ["", "EPSG:4326", UTM, "+proj=longlat +datum=WGS84", "46.855", "-116.87", "../..", "%00", "\0"]
    ),
)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), _TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from(["lat", "lng", "srs", "pup", "x"])


def _assert_expected(volumes: Path, reply: Reply) -> None:
    assert reply.status_code == 200
    answer = checked(reply.content)
    assert str(volumes) not in reply.text
    if "Error" in answer:
        assert answer["Error"].startswith(EXPECTED)
    else:
        assert math.isfinite(answer["Elevation"])


@settings(deadline=None, max_examples=150)
@given(
    query=st.dictionaries(_NAMES, _TEXTS),
    body=st.one_of(st.binary(max_size=60), st.dictionaries(_NAMES, _JSON), _JSON),
)
def test_no_query_and_no_body_gets_anything_but_an_answer(
    volumes: Path, query: dict[str, str], body: object
) -> None:
    path = f"{SITE_PREFIX}/runs/{RUN}/sample/elevationquery"
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    for method, content in (("GET", b""), ("POST", text)):
        _assert_expected(volumes, call(app, method, path, query, content))


@settings(deadline=None, max_examples=60)
@given(
    run=st.text(max_size=30).map(lambda text: text.replace("/", "")).filter(bool),
    query=st.binary(max_size=60),
)
def test_no_run_id_gets_anything_but_an_answer(volumes: Path, run: str, query: bytes) -> None:
    path = f"{SITE_PREFIX}/runs/{quote(run, safe='', errors='replace')}/sample/elevationquery"
    _assert_expected(volumes, call(app, "GET", path, query + b"&lat=1&lng=2"))

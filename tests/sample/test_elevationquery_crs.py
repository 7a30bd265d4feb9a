"""Reference systems of points whose elevation is requested."""

from __future__ import annotations

import pyproj
import pytest
from elevation import EXPECTED, ask
from wepppy.webservices.raster_crs import parse_crs

pytestmark = pytest.mark.usefixtures("elevation_volumes")


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

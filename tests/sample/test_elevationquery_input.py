"""Parameters of elevation requests: their places, bad ones, and anything at all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from urllib.parse import quote

import pytest
from asgi import Reply, call
from elevation import EXPECTED, RUN, address, ask, checked
from hypothesis import given, settings
from hypothesis import strategies as st
from rasters import (
    UTM,
)
from wepppy.microservices.elevationquery import app

pytestmark = pytest.mark.usefixtures("elevation_volumes")


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
    path = address(RUN)
    reply = call(app, "POST", path, body=b" " * 70_000)
    assert reply.status_code == 413
    assert checked(reply.content)["Error"] == "Request body too large"


def test_the_error_for_an_unknown_run_names_it_and_no_path(elevation_volumes: Path) -> None:
    for run in ("nobody", "..", "a" * 300, "batch;;x", "%00", "ünbekannt"):
        answer = ask(run=run, lat=1, lng=2)
        assert answer["Error"].startswith("Run '")
        assert str(elevation_volumes) not in answer["Error"]


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


def _assert_expected(elevation_volumes: Path, reply: Reply) -> None:
    assert reply.status_code == 200
    answer = checked(reply.content)
    assert str(elevation_volumes) not in reply.text
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
    elevation_volumes: Path, query: dict[str, str], body: object
) -> None:
    path = address(RUN)
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    for method, content in (("GET", b""), ("POST", text)):
        _assert_expected(elevation_volumes, call(app, method, path, query, content))


@settings(deadline=None, max_examples=60)
@given(
    run=st.text(max_size=30).map(lambda text: text.replace("/", "")).filter(bool),
    query=st.binary(max_size=60),
)
def test_no_run_id_gets_anything_but_an_answer(elevation_volumes: Path, run: str, query: bytes) -> None:
    path = address(quote(run, safe="", errors="replace"))
    _assert_expected(elevation_volumes, call(app, "GET", path, query + b"&lat=1&lng=2"))

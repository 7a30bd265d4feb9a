"""Requests to the elevation service and the shape that all its answers have."""

from __future__ import annotations

import json
from typing import Any

from asgi import call
from rasters import strict_json
from wepppy.microservices.elevationquery import SITE_PREFIX, app

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


def address(run: str) -> str:
    """Return the path of the service for a run."""
    return f"{SITE_PREFIX}/runs/{run}/sample/elevationquery"


def ask(run: str = RUN, body: object = None, **query: Any) -> Answer:
    """Return the answer to a request that must get status 200."""
    text = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    method = "GET" if body is None else "POST"
    reply = call(app, method, address(run), query, text)
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

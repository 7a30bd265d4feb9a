"""The elevation service: load, private runs, health, unknown addresses."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import jwt
import pytest
from asgi import Reply, begun, call, exchange
from conftest import RedisServer
from elevation import RUN, address, ask, checked
from rasters import (
    completed,
    elevations,
    write_end,
    write_raster,
)
from wepppy.microservices.elevationquery import app

pytestmark = pytest.mark.usefixtures("elevation_volumes")


def test_while_a_terrain_model_is_slow_health_answers_and_excess_requests_get_the_time_to_retry(
    elevation_run: Path,
) -> None:
    (elevation_run / "dem").mkdir()
    slow = elevation_run / "dem/dem.tif"
    os.mkfifo(slow)  # opening it waits for a writer
    path = address(elevation_run.name).encode()

    async def all_at_once() -> list[Reply]:
        questions = [asyncio.create_task(begun(app, "GET", path, b"lat=1&lng=2")) for _ in range(50)]
        refused = await completed(questions, 50 - 32)
        assert {reply.status_code for reply in refused} == {503}
        assert (await begun(app, "GET", b"/health")).status_code == 200
        writer = await write_end(slow)
        slow.rename(slow.with_name("opened"))
        os.close(writer)
        return await asyncio.gather(*questions)

    replies = asyncio.run(all_at_once())
    busy = [reply for reply in replies if reply.status_code == 503]
    assert len(busy) == 50 - 32
    assert {reply.headers["retry-after"] for reply in busy} == {"5"}
    assert {checked(reply.content)["Error"] for reply in busy} == {
        "The service is busy. Try again in a moment."
    }
    assert {reply.status_code for reply in replies} == {200, 503}


def test_the_elevation_of_a_private_run_needs_access_to_it(
    elevation_run: Path, redis_env: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wepppy.microservices import browse_access

    secret = "a secret that is long enough for HS256"
    monkeypatch.setenv("WEPP_AUTH_JWT_SECRETS", secret)
    browse_access._denylist.cache_clear()
    (elevation_run / "dem").mkdir()
    write_raster(elevation_run / "dem/dem.tif", elevations())
    (elevation_run / "PUBLIC").unlink()
    name, point = elevation_run.name, {"lat": 46.855, "lng": -116.87}
    private, absent = ask(run=name, **point), ask(run="no-such-run", **point)
    assert private == {**absent, "Error": f"Run '{name}' not found"}
    claims = {"aud": "rq-engine", "jti": "one", "exp": 2**33, "runid": name}
    cookie = f"wepp_browse_jwt={jwt.encode(claims, secret, 'HS256')}"
    path = address(name).encode()
    reply = exchange(app, "GET", path, b"lat=46.855&lng=-116.87", {"host": "localhost", "cookie": cookie})
    assert checked(reply.content)["Elevation"] is not None


def test_health_is_honest(elevation_volumes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reply = call(app, "GET", "/health")
    assert (reply.status_code, reply.content) == (200, b"OK")
    assert reply.headers["content-type"].startswith("text/plain")
    monkeypatch.setenv("WC1_DIR", str(elevation_volumes / "gone"))
    reply = call(app, "GET", "/health")
    assert (reply.status_code, reply.content) == (503, b"the runs volume is missing")


def test_unknown_routes_and_methods_keep_the_shape() -> None:
    query = address(RUN)
    for method, path, status in (("GET", "/", 404), ("GET", query + "/x", 404), ("PUT", query, 405)):
        reply = call(app, method, path)
        assert reply.status_code == status
        assert checked(reply.content)["Error"]

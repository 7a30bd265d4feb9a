"""The main job on real input: a run is started through Caddy, computed, streamed, ticked, browsed, downloaded."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any

import pytest

from tests.engine.run import FinishedRun, run_to_its_end
from tests.engine.stack import Stack

# What the sample's computation must have ticked when it is done.
TICKED = {"channels", "outlet", "subcatchments", "landuse", "soils", "climate", "wepp"}


@pytest.fixture(scope="session")
def finished_run(stack: Stack) -> FinishedRun:
    return run_to_its_end(stack, "smoke")


@pytest.fixture(scope="session")
def model(stack: Stack) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(stack.compose("config", "--format", "json").stdout)
    return document


def run_path(run: FinishedRun, rest: str) -> str:
    return f"/weppcloud/runs/{run.runid}/{run.config}/{rest}"


def test_every_backend_answers_its_own_health_through_the_proxy(stack: Stack, model: dict[str, Any]) -> None:
    probed = set()
    for name, service in model["services"].items():
        labels = service["labels"]
        if "wepp.probe" in labels:
            reply = stack.get(labels["wepp.probe"])
            assert (reply.status, reply.body.decode().strip()) == (200, labels["wepp.probe.body"]), name
            probed.add(name)
    assert probed >= {
        "weppcloud",
        "status",
        "preflight",
        "browse",
        "webpush",
        "elevationquery",
        "wmesque2",
        "metquery",
    }


def test_every_container_is_healthy(stack: Stack) -> None:
    lines = stack.compose("ps", "--format", "json").stdout.splitlines()
    states = {entry["Service"]: entry["Health"] for entry in map(json.loads, lines)}
    assert set(states.values()) == {"healthy"}, states
    assert {"postgres", "redis", "caddy", "rq-worker", "postgres-backup", "weppcloud"} <= set(states)


def test_a_path_that_nobody_serves_is_not_found(stack: Stack) -> None:
    assert stack.get("/no-such-thing").status == 404
    assert stack.get("/healthXYZ").status == 404


def test_the_front_page_is_served_through_the_proxy(stack: Stack) -> None:
    page = stack.get("/")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert b"/weppcloud/static/" in page.body


def test_the_worker_tells_every_step_to_the_websocket(finished_run: FinishedRun) -> None:
    messages = [frame["data"] for frame in finished_run.status.of_type("status")]
    assert len(messages) >= len(TICKED)
    assert "COMPLETED" in messages[-1]
    assert not any("EXCEPTION" in message.upper() for message in messages)


def test_the_checklist_fills_step_by_step_and_never_unticks(finished_run: FinishedRun) -> None:
    lists = [frame["checklist"] for frame in finished_run.preflight.of_type("preflight")]
    assert not any(lists[0].values())
    assert len(lists[0]) == 21
    assert {key for key, ticked in lists[-1].items() if ticked} >= TICKED
    for key in TICKED:
        ticks = [checklist[key] for checklist in lists]
        assert ticks == sorted(ticks), key
    assert not any(finished_run.preflight.of_type("preflight")[-1]["lock_statuses"].values())


def test_the_files_of_the_run_are_listed_and_their_bytes_are_the_workers(
    stack: Stack, finished_run: FinishedRun
) -> None:
    listing = stack.get(run_path(finished_run, "files/dem")).content
    assert "dem.tif" in [entry["name"] for entry in listing["entries"]]
    reply = stack.get(run_path(finished_run, "download/dem/dem.tif"))
    assert reply.status == 200
    file = f"/wc1/runs/{finished_run.runid[:2]}/{finished_run.runid}/dem/dem.tif"
    summed = stack.compose("exec", "-T", "rq-worker", "sha256sum", file).stdout.split()[0]
    assert hashlib.sha256(reply.body).hexdigest() == summed
    assert reply.body[:4] in (b"II*\0", b"MM\0*")
    assert len(reply.body) > 10_000


def test_a_part_of_a_file_can_be_fetched(stack: Stack, finished_run: FinishedRun) -> None:
    whole = stack.get(run_path(finished_run, "download/dem/dem.tif")).body
    part = stack.get(run_path(finished_run, "download/dem/dem.tif"), Range="bytes=100-299")
    assert (part.status, part.body) == (206, whole[100:300])


def test_the_file_browser_shows_the_runs_folder(stack: Stack, finished_run: FinishedRun) -> None:
    page = stack.get(run_path(finished_run, "browse/"))
    assert page.status == 200
    assert b"dem" in page.body


def test_a_path_out_of_the_run_is_refused(stack: Stack, finished_run: FinishedRun) -> None:
    for path in (
        "../../../../etc/passwd",
        "%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "dem/..%2f..%2f..%2fetc%2fpasswd",
    ):
        reply = stack.get(run_path(finished_run, f"download/{path}"))
        assert reply.status in (400, 403, 404), path
        assert b"root:" not in reply.body


def test_elevation_is_read_from_the_runs_own_terrain(stack: Stack, finished_run: FinishedRun) -> None:
    extent = json.loads(stack.get(run_path(finished_run, "download/ron.nodb")).body)["extent"]
    longitude, latitude = (extent[0] + extent[2]) / 2, (extent[1] + extent[3]) / 2
    reply = stack.get(run_path(finished_run, f"elevationquery?lat={latitude}&lng={longitude}"))
    assert reply.status == 200
    assert reply.content["Units"] == "m"
    assert 0 < reply.content["Elevation"] < 5000


def test_the_terrain_can_be_cropped(stack: Stack, finished_run: FinishedRun) -> None:
    left, bottom, right, top = json.loads(stack.get(run_path(finished_run, "download/ron.nodb")).body)[
        "extent"
    ]
    reply = stack.get(
        f"/webservices/wmesque2/retrieve/ned1/2016?bbox={left},{bottom},{right},{top}&cellsize=60"
    )
    assert reply.status == 200, reply.body[:300]
    assert reply.body[:4] in (b"II*\0", b"MM\0*")
    assert struct.calcsize("I") < len(reply.body)


def test_monthly_climate_has_twelve_values(stack: Stack, finished_run: FinishedRun) -> None:
    left, bottom, right, top = json.loads(stack.get(run_path(finished_run, "download/ron.nodb")).body)[
        "extent"
    ]
    dataset = stack.get("/webservices/metquery/monthly/catalog").content
    names = dataset if isinstance(dataset, list) else list(dataset)
    reply = stack.get(
        f"/webservices/metquery/monthly?lat={(bottom + top) / 2}&lng={(left + right) / 2}&dataset={names[0]}"
    )
    assert reply.status == 200
    assert len(reply.content["MonthlyValues"]) == 12

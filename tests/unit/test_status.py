"""What runs, told for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import status
from tests.unit.fakes import Checkout, FakeClock, Screen, container


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path)
    made.with_env()
    made.containers_are(
        [
            container(
                "status", ports={"9002/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9002"}], "1/tcp": None}
            ),
            container("caddy", health="unhealthy"),
            container("upgrade", status="exited", health=""),
            container("metquery", status="exited", health="", exit_code=137),
            container("retired"),
        ]
    )
    made.runner.on("docker", "stats", stdout="id-status\t12.5MiB / 256MiB\n")
    return made


def test_every_service_is_told_with_state_ports_uptime_and_memory(checkout: Checkout) -> None:
    screen = Screen()
    status.show(checkout.compose(), screen.console, FakeClock(3700.0))
    rows = {line.split()[0]: line for line in screen.out.getvalue().splitlines()}
    assert rows["status"].split()[1] == "healthy"
    assert "127.0.0.1:9002" in rows["status"]
    assert "1 h 1 min" in rows["status"]
    assert "12.5MiB" in rows["status"]
    assert "unhealthy" in rows["caddy"]
    assert "done" in rows["upgrade"]
    assert "failed" in rows["metquery"]
    assert "absent" in rows["postgres"]
    assert "not in the compose files" in rows["retired"]


def test_the_json_answer_is_one_document(checkout: Checkout) -> None:
    screen = Screen(as_json=True)
    status.show(checkout.compose(), screen.console, FakeClock(60.0))
    rows = {each["service"]: each for each in json.loads(screen.out.getvalue())["services"]}
    assert rows["status"]["uptime"] == 60
    assert rows["metquery"]["uptime"] is None
    assert rows["postgres"]["state"] == "absent"


def test_watching_without_a_terminal_shows_the_state_once(checkout: Checkout) -> None:
    screen, clock = Screen(), FakeClock()
    status.watch(checkout.compose(), screen.console, clock)
    assert screen.out.getvalue().count("SERVICE") == 1
    assert clock.seconds == 0


def test_services_that_are_off_and_have_no_container_are_left_out(checkout: Checkout) -> None:
    checkout.containers_are([])
    names = [row.service for row in status.rows(checkout.compose("core"), 0.0)]
    assert "metquery" not in names
    assert "postgres" in names


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0, "0 s"), (61, "1 min 1 s"), (3600, "1 h"), (183845, "2 d 3 h")]
)
def test_uptime_is_told_in_its_two_largest_units(seconds: int | None, text: str) -> None:
    assert status.uptime_text(seconds) == text


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("1970-01-01T00:00:10.123456789Z", 89),
        ("1970-01-01T00:00:10Z", 90),
        ("1970-01-01T00:02:00Z", 0),
        ("", None),
    ],
)
def test_the_engines_moments_are_understood(moment: str, seconds: int | None) -> None:
    assert status.seconds_since(moment, 100.0) == seconds

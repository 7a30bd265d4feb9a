"""How many runs one client may create and start: refused beyond that, with the time to wait."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import SAMPLE_TREE
from flask import Flask
from flask.testing import FlaskClient
from test_weppcloud_accounts import log_in, token
from test_weppcloud_runs import add_user, make_run
from werkzeug.test import TestResponse

SETTINGS = ("RUN_LIMIT_PER_CLIENT", "RUN_LIMIT_PER_ADDRESS")
Made = Callable[..., Flask]


@pytest.fixture
def limited(site: Flask, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Return what makes the application with other limits."""
    from wepppy.weppcloud.app import create_app

    def made(per_client: str, per_address: str) -> Flask:
        for name, value in zip(SETTINGS, (per_client, per_address), strict=True):
            monkeypatch.setenv(name, value)
        return create_app()

    return made


def from_address(site: Flask, address: str = "203.0.113.9") -> FlaskClient:
    """Return a browser without cookies at an address."""
    client = site.test_client()
    client.environ_base["REMOTE_ADDR"] = address
    return client


def create(client: FlaskClient) -> TestResponse:
    return client.post("/api/runs", json={}, headers={"X-CSRFToken": token(client)})


def start(client: FlaskClient, runid: str) -> int:
    return client.post(f"/api/runs/{runid}/start", headers={"X-CSRFToken": token(client)}).status_code


def test_one_browser_that_creates_many_runs_is_refused_with_the_time_to_try_again(limited: Made) -> None:
    client = from_address(limited("10/minute", "60/minute"))
    answers = [create(client) for _ in range(25)]
    assert [answer.status_code for answer in answers] == [201] * 10 + [429] * 15
    refused = answers[-1]
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    error = refused.get_json()["error"]
    assert error["code"] == "too_many_requests"
    assert error["message"].startswith("Too many runs were created from here in a short time. Try again in ")
    assert client.get("/api/runs").get_json()["Content"]["total"] == 10


def test_browsers_that_forget_their_cookies_share_the_limit_of_their_address(limited: Made) -> None:
    site = limited("10/minute", "20/minute")
    statuses = [create(from_address(site)).status_code for _ in range(25)]
    assert statuses == [201] * 20 + [429] * 5
    assert create(from_address(site, "203.0.113.10")).status_code == 201
    six = [create(from_address(site, f"2001:db8:0:1::{number:x}")).status_code for number in range(21)]
    assert six == [201] * 20 + [429]


def test_starting_runs_is_limited_as_creating_them_is_and_counted_for_itself(limited: Made) -> None:
    client = from_address(limited("3/minute", "60/minute"))
    made = [make_run(client) for _ in range(3)]
    assert create(client).status_code == 429
    assert [start(client, runid) for runid in made] == [202] * 3
    assert start(client, made[0]) == 429


def test_the_form_shares_the_limit_of_the_interface_and_answers_a_page(limited: Made) -> None:
    client = from_address(limited("1/minute", "60/minute"))
    make_run(client)
    page = client.post("/runs/", data={"csrf_token": token(client)}, headers={"Accept": "text/html"})
    assert (page.status_code, page.mimetype) == (429, "text/html")
    assert "Try again in" in page.text
    assert page.headers["Retry-After"]


def test_an_account_has_a_limit_of_its_own_wherever_it_is_and_administrators_have_none(limited: Made) -> None:
    site = limited("2/minute", "1/minute")
    add_user(site, "owner@example.org")
    owner, admin = from_address(site), from_address(site)
    assert create(from_address(site)).status_code == 201
    assert create(from_address(site)).status_code == 429
    assert log_in(owner, "secret", "owner@example.org") == 200
    assert [create(owner).status_code for _ in range(3)] == [201, 201, 429]
    elsewhere = from_address(site, "203.0.113.10")
    assert log_in(elsewhere, "secret", "owner@example.org") == 200
    assert create(elsewhere).status_code == 429
    assert log_in(admin) == 200
    assert [create(admin).status_code for _ in range(4)] == [201] * 4


def test_a_workshop_of_thirty_behind_one_address_works_with_the_limits_that_the_stack_comes_with(
    limited: Made,
) -> None:
    lines = (SAMPLE_TREE.parents[1] / ".env.example").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if line.startswith(SETTINGS))
    site = limited(*(values[name] for name in SETTINGS))
    for _ in range(30):
        client = from_address(site)
        assert start(client, make_run(client)) == 202


def test_more_than_one_limit_holds_at_once(limited: Made) -> None:
    client = from_address(limited("5/minute,2/day", "60/minute"))
    answers = [create(client) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert int(answers[-1].headers["Retry-After"]) > 3600
    assert "hours" in answers[-1].get_json()["error"]["message"]


@pytest.mark.parametrize("value", ["many", "10", "10/fortnight", "10/minute,x"])
def test_a_limit_that_cannot_be_read_stops_the_application_by_its_name(limited: Made, value: str) -> None:
    with pytest.raises(RuntimeError, match="RUN_LIMIT_PER_CLIENT"):
        limited(value, "60/minute")

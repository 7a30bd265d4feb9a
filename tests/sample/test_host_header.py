"""No answer of any service repeats the `Host` header of its request."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from asgi import exchange
from file_service import URL, make_run
from flask import Flask

FOREIGN = "evil.example"
PATHS = (
    "/", "/health", "/health/", "/runs", "/login/", "/x//y", f"{URL}/aria2c.spec", f"{URL}/browse", "/catalog/",
    "/weppcloud/runs/x/y/elevationquery/", "/subscriptions/x/", "/vapid-public-key/",
)  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["microservices.browse", "microservices.elevationquery", "microservices.webpush", "webservices.wmesque2"],
)
def test_no_asynchronous_service_repeats_it(data_env: Path, name: str) -> None:
    make_run(data_env)
    app = importlib.import_module(f"wepppy.{name}").app
    for path in PATHS:
        reply = exchange(app, "GET", path.encode(), b"", {"host": FOREIGN})
        assert FOREIGN not in f"{reply.headers} {reply.text}", path


@pytest.mark.parametrize("name", ["webservices.metquery", "webservices.wmesque"])
def test_no_climate_or_raster_service_repeats_it(data_env: Path, name: str) -> None:
    _assert_silent(importlib.import_module(f"wepppy.{name}").app)


def test_the_application_does_not_repeat_it_and_its_redirects_lead_to_paths(site: Flask) -> None:
    _assert_silent(site)
    for path in ("/runs", "/runs/"):
        answer = site.test_client().get(path, headers={"X-Forwarded-Prefix": "/weppcloud"})
        assert (answer.status_code, answer.location) == (302, "/weppcloud/")


def _assert_silent(app: Any) -> None:
    for path in PATHS:
        answer = app.test_client().get(path, base_url=f"http://{FOREIGN}/")
        assert FOREIGN not in f"{answer.headers} {answer.text}", path

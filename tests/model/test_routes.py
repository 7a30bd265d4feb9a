"""The proxy's list of routes and the Compose files name the same services and ports, for the sample and for a tree."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.routes import SERVICES

Model = dict[str, Any]

CADDYFILE = Path(__file__).resolve().parents[2] / "docker" / "caddy" / "Caddyfile"
SETS = {
    "sample": ["docker-compose.dev.yml"],
    **{
        f"tree, {mode}": [
            f"docker-compose.{mode}.yml", "docker-compose.wepppy.yml", f"docker-compose.wepppy-{mode}.yml"
        ]
        for mode in ("dev", "prod")
    },
}  # fmt: skip
# Nobody asks these over HTTP.
NO_BACKENDS = {"caddy", "scheduler", "assets-vendor"}


@pytest.fixture(scope="module", params=SETS)
def backends(request: pytest.FixtureRequest, render_with: Callable[..., Model]) -> dict[str, Any]:
    """The services beside the proxy on a network of its own, by their names."""
    services = render_with(SETS[request.param], WEPPPY_SRC="/home/somebody/wepppy")["services"]
    networks = set(services["caddy"]["networks"])
    return {
        name: service
        for name, service in services.items()
        if networks & set(service.get("networks") or {})
        and name not in NO_BACKENDS
        and not name.startswith("rq-worker")
        and service["labels"].get("wepp.role") != "one-shot"
    }


def test_every_service_behind_the_proxy_has_a_route(backends: dict[str, Any]) -> None:
    routes = set(re.findall(r" ([a-z][a-z0-9-]*):(\d+)\b", CADDYFILE.read_text()))
    assert backends.keys() - {name for name, _ in routes} == set()


def test_a_route_leads_to_the_port_that_the_services_own_health_check_asks(backends: dict[str, Any]) -> None:
    for name, service in backends.items():
        port = re.search(r"127\.0\.0\.1[:/](\d+)", str(service["healthcheck"]["test"]))
        if name == "fcgiwrap":
            assert "tcp:0.0.0.0:9000" in service["command"]
        else:
            assert port, name
            assert int(port[1]) == SERVICES[name], name

"""Who answers which path, what of the path and of the headers arrives there, and what happens when nobody is there."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from websockets.sync.client import connect

from scripts.engine import proof
from tests.proxy.proxy import Proxy, docker
from tests.proxy.routes import ROUTES, SERVICES, UNKNOWN, Route


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_a_path_reaches_its_service_as_the_service_expects_it(site: Proxy, route: Route) -> None:
    seen = site.ask(f"{route.asked}?a=1&b=%2F").seen
    assert (seen["port"], seen["path"]) == (SERVICES[route.service], f"{route.seen}?a=1&b=%2F")


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_a_service_is_told_the_prefix_and_whom_it_serves(site: Proxy, route: Route) -> None:
    reply = site.ask(route.asked, Host="wepp.example:8443")
    assert reply.seen_header("x-forwarded-prefix") == route.prefix
    assert reply.seen_header("host") == "wepp.example:8443"
    assert reply.seen_header("x-forwarded-host") == "wepp.example:8443"
    assert reply.seen_header("x-forwarded-proto") == "http"
    assert reply.seen_header("x-forwarded-for")


def test_every_service_has_a_route() -> None:
    assert {route.service for route in ROUTES} == set(SERVICES)


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_a_service_that_is_off_answers_503(alone: Proxy, route: Route) -> None:
    reply = alone.ask(route.asked)
    assert (reply.status, reply.headers["content-type"], reply.headers["retry-after"]) == (
        503,
        "application/json",
        "5",
    )
    assert json.loads(reply.body)["error"]["code"] == "service_unavailable"


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def test_a_browser_is_shown_a_page_that_asks_again_while_a_service_is_off(alone: Proxy) -> None:
    reply = alone.ask("/weppcloud/runs/?page=2", Accept=BROWSER)
    assert (reply.status, reply.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert (reply.headers["retry-after"], reply.headers["refresh"]) == ("5", "5")
    assert (reply.headers["cache-control"], reply.headers["vary"]) == ("no-store", "Accept")
    # Nothing on it needs more than the strictest policy allows.
    assert reply.headers["content-security-policy"].startswith("default-src 'none';")
    text = reply.body.decode()
    assert not re.search(r"<(script|style|link|img)|style=|\bon\w+=", text)
    assert "<h1>The service behind this address is not running.</h1>" in text
    assert 'href=""' in text
    assert 'href="/weppcloud/"' in text
    assert "Status 503, service_unavailable" in text
    # As `compose-up` reads it.
    assert proof.told(text)[0] == "The service behind this address is not running."


def test_what_was_sent_to_a_service_that_is_off_is_not_asked_for_again_without_it(alone: Proxy) -> None:
    reply = alone.ask("/weppcloud/login", "POST", b"x", Accept=BROWSER)
    assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    assert "refresh" not in reply.headers


def test_a_browser_is_shown_a_page_when_it_sent_too_much(site: Proxy) -> None:
    reply = site.ask("/weppcloud/login", "POST", bytes(64_001), Accept=BROWSER)
    assert (reply.status, reply.headers["content-type"]) == (413, "text/html; charset=utf-8")
    assert b"<h1>The request's body is larger than this address takes.</h1>" in reply.body
    assert "refresh" not in reply.headers


def test_a_repository_answers_503_while_the_application_is_off(alone: Proxy) -> None:
    assert alone.ask("/git/ab/abc-def/.git/info/refs").status == 503


def test_an_error_of_a_service_itself_passes_unchanged(site: Proxy) -> None:
    reply = site.ask("/weppcloud/busy")
    assert (reply.status, reply.body) == (503, b'{"busy": true}')


@pytest.mark.parametrize("path", UNKNOWN)
def test_an_unknown_path_is_not_found_and_reaches_no_service(site: Proxy, path: str) -> None:
    reply = site.ask(path)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (404, "not_found")


def test_a_browser_is_shown_a_page_for_an_unknown_path(site: Proxy) -> None:
    reply = site.ask("/nothing", Accept=BROWSER)
    assert (reply.status, reply.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert b"<h1>There is nothing at this address.</h1>" in reply.body
    assert b'href="/weppcloud/"' in reply.body


@pytest.mark.parametrize("path", ["/", "/weppcloud"])
def test_the_front_page_is_the_applications(site: Proxy, path: str) -> None:
    reply = site.ask(path, Host="elsewhere.example")
    assert (reply.status, reply.headers["location"]) == (302, "/weppcloud/")


@pytest.mark.parametrize(
    "path",
    ["//elsewhere.example", "//elsewhere.example/", "//elsewhere.example/..", "/\\elsewhere.example", "//weppcloud",
     "//utils/shape-converter", "/weppcloud//elsewhere.example/.."],
)  # fmt: skip
def test_no_redirect_leads_to_another_site(site: Proxy, path: str) -> None:
    location = site.ask(path, Host="elsewhere.example").headers.get("location", "/")
    assert location.startswith("/")
    assert not location.startswith(("//", "/\\"))


def test_the_shape_converters_page_is_found_without_its_slash(site: Proxy) -> None:
    reply = site.ask("/utils/shape-converter", "POST", b"x")
    assert (reply.status, reply.headers["location"]) == (308, "/utils/shape-converter/")


TRUSTED = {
    "X-Forwarded-Prefix": "/evil", "X-Forwarded-Port": "666", "X-Forwarded-Proto": "https",
    "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil", "Forwarded": "for=6.6.6.6;host=evil",
    "X-Auth-User": "evil", "X_Auth_User": "evil", "X_Forwarded_Prefix": "/evil", "Proxy": "http://evil",
}  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "/weppcloud/login",
        "/health",
        "/rq-engine/x",
        "/cap/x",
        "/utils/shape-converter/x",
        "/weppcloud/static/x.js",
    ],
)
def test_what_a_client_says_of_itself_reaches_no_service(site: Proxy, path: str) -> None:
    connection = site.connect()
    connection.request("GET", path, headers=TRUSTED)
    seen = json.loads(connection.getresponse().read())
    connection.close()
    arrived = {value for name, value in seen["headers"]}
    assert not arrived & set(TRUSTED.values())
    assert not any("_" in name for name, value in seen["headers"])


@pytest.mark.parametrize("service", ["status", "preflight"])
def test_a_websocket_goes_through(site: Proxy, service: str) -> None:
    address = f"ws://127.0.0.1:{site.port}/weppcloud-microservices/{service}/abc-def:rq"
    with connect(address) as socket:
        assert json.loads(socket.recv()) == {"port": SERVICES[service], "path": "/abc-def:rq"}


@pytest.mark.parametrize("prefix", ["/profile-playback", "/query-engine", "/rq-engine", "/weppcloud"])
def test_a_stream_arrives_line_by_line(site: Proxy, prefix: str) -> None:
    connection = site.connect()
    connection.request("GET", f"{prefix}/stream", headers={"Accept-Encoding": "gzip"})
    reply = connection.getresponse()
    first = reply.readline()
    site.ask(f"{prefix}/go-on")
    reply.readline()
    assert (first, reply.readline()) == (b"data: first\n", b"data: second\n")
    connection.close()


@pytest.fixture(scope="module")
def configuration(proxy_image: str) -> Any:
    """The proxy's configuration as Caddy reads it."""
    config = "/etc/caddy/Caddyfile"
    command = ["--network", "none", "--read-only", "--tmpfs", "/config:mode=1777", proxy_image]
    return json.loads(docker("run", "--rm", *command, "caddy", "adapt", "--config", config))


def test_read_timeouts_are_the_routes(configuration: Any) -> None:
    found: dict[str, set[int]] = {}
    for handler in handlers(configuration, "reverse_proxy"):
        (upstream,) = handler["upstreams"]
        wait = handler.get("transport", {}).get("read_timeout", 0) // 1_000_000_000
        found.setdefault(upstream["dial"], set()).add(wait)
    expected: dict[str, set[int]] = {"fcgiwrap:9000": {0}}
    for route in ROUTES:
        expected.setdefault(f"{route.service}:{SERVICES[route.service]}", set()).add(route.wait)
    assert found == expected


def handlers(part: Any, kind: str) -> list[dict[str, Any]]:
    """Every handler of a kind within a part of the proxy's configuration."""
    if isinstance(part, list):
        return [found for each in part for found in handlers(each, kind)]
    if not isinstance(part, dict):
        return []
    own = [part] if part.get("handler") == kind else []
    return own + [found for each in part.values() for found in handlers(each, kind)]

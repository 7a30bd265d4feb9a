"""Production: the same site at its public name over TLS, beside the one without TLS for the machine itself."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator

import pytest

from tests.proxy.proxy import Proxy, Reply, proxy, published


@pytest.fixture(scope="module")
def public(proxy_image: str, backends: str) -> Iterator[Proxy]:
    """The proxy as production starts it, with certificates of its own."""
    settings = {"SITE_ADDRESS": "localhost", "SITE_TLS": "internal", "AUTO_HTTPS": "ignore_loaded_certs"}
    variables = [word for name, value in settings.items() for word in ("--env", f"{name}={value}")]
    ports = ["--publish", "127.0.0.1::8443", "--publish", "127.0.0.1::8079"]
    command = ("caddy", "run", "--config", "/etc/caddy/public.caddy", "--adapter", "caddyfile")
    with proxy(
        proxy_image, backends, *variables, *ports, "--env", "XDG_DATA_HOME=/data", command=command
    ) as running:
        yield running


def over_tls(public: Proxy, path: str) -> Reply:
    """A request to the public name; the certificate is of an authority that nobody knows."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        "localhost", published(public.container, 8443), context=context, timeout=30
    )
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
    finally:
        connection.close()


def test_services_are_reached_over_tls_and_are_told_so(public: Proxy) -> None:
    reply = over_tls(public, "/weppcloud/login")
    assert (reply.seen["path"], reply.seen_header("x-forwarded-proto")) == ("/login", "https")


def test_the_machine_itself_reaches_them_without_tls(public: Proxy) -> None:
    assert public.ask("/rq-engine/health").seen["path"] == "/health"


def test_plain_http_is_redirected(public: Proxy) -> None:
    reply = Proxy(published(public.container, 8079), public.container).ask(
        "/weppcloud/login", Host="localhost"
    )
    assert reply.status == 308
    assert reply.headers["location"].startswith("https://localhost")

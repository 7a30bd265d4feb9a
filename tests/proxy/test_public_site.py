"""Production: the same site at its public name over TLS, beside the one without TLS for the machine itself."""

from __future__ import annotations

import http.client
import ipaddress
import json
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.proxy.proxy import Proxy, Reply, proxy, published

# Certificates of the stack's own authority.
TLS = {"SITE_TLS": "internal", "AUTO_HTTPS": "disable_redirects"}
OWN_CERTIFICATE = Path(__file__).parents[2] / "docker" / "docker-compose.own-certificate.yml"


@contextmanager
def production(image: str, backends: str, *arguments: str, **settings: str) -> Iterator[Proxy]:
    """The proxy as production starts it."""
    named = {"SITE_ADDRESS": "localhost", "XDG_DATA_HOME": "/data", **settings}
    variables = [word for name, value in named.items() for word in ("--env", f"{name}={value}")]
    ports = ["--publish", "127.0.0.1::8443", "--publish", "127.0.0.1::8079"]
    command = ("caddy", "run", "--config", "/etc/caddy/public.caddy", "--adapter", "caddyfile")
    with proxy(image, backends, *variables, *ports, *arguments, command=command) as running:
        yield running


@pytest.fixture(scope="module")
def public(proxy_image: str, backends: str) -> Iterator[Proxy]:
    """The proxy with certificates of the stack's own authority."""
    with production(proxy_image, backends, **TLS) as running:
        yield running


def over_tls(public: Proxy, path: str, **headers: str) -> Reply:
    """A request to the public name; the certificate is of an authority that nobody knows."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        "localhost", published(public.container, 8443), context=context, timeout=30
    )
    try:
        connection.request("GET", path, headers=headers)
        reply = connection.getresponse()
        return Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
    finally:
        connection.close()


def test_services_are_reached_over_tls_and_are_told_so(public: Proxy) -> None:
    reply = over_tls(public, "/weppcloud/login")
    assert (reply.seen["path"], reply.seen_header("x-forwarded-proto")) == ("/login", "https")


def test_the_machine_itself_reaches_them_without_tls(public: Proxy) -> None:
    assert public.ask("/rq-engine/health").seen["path"] == "/health"


def test_browsers_are_told_to_come_by_tls_alone(public: Proxy) -> None:
    for path in ("/weppcloud/login", "/rq-engine/x", "/nothing", "/"):
        assert over_tls(public, path).headers["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in public.ask("/weppcloud/login").headers


def test_each_request_is_logged_with_its_client_and_without_secrets(public: Proxy) -> None:
    over_tls(
        public, "/weppcloud/logged?a=1", Cookie="session=secret-cookie", Authorization="Bearer secret-token"
    )
    logged = subprocess.run(
        ["docker", "logs", public.container], capture_output=True, text=True, check=True
    )  # fmt: skip
    lines = [line for line in logged.stdout.splitlines() if "/weppcloud/logged" in line]
    (entry,) = [json.loads(line) for line in lines]
    assert ipaddress.ip_address(entry["request"]["remote_ip"])
    assert (entry["request"]["uri"], entry["status"]) == ("/weppcloud/logged?a=1", 200)
    assert "secret-" not in logged.stdout + logged.stderr


def test_plain_http_is_redirected(public: Proxy) -> None:
    reply = Proxy(published(public.container, 8079), public.container).ask(
        "/weppcloud/login", Host="localhost"
    )
    assert reply.status == 308
    assert reply.headers["location"] == "https://localhost/weppcloud/login"


@pytest.mark.parametrize("host", ["elsewhere.example", "elsewhere.example:80", "localhost.elsewhere.example"])
def test_plain_http_leads_to_no_name_but_the_sites_own(public: Proxy, host: str) -> None:
    reply = Proxy(published(public.container, 8079), public.container).ask("/weppcloud/login", Host=host)
    assert reply.status == 404
    assert "elsewhere" not in f"{reply.headers} {reply.body!r}"


def test_plain_http_is_redirected_at_each_of_several_names(proxy_image: str, backends: str) -> None:
    names = "localhost, wepp.example"
    with production(proxy_image, backends, **TLS, SITE_ADDRESS=names) as several:
        plain = Proxy(published(several.container, 8079), several.container)
        for name in ("localhost", "wepp.example"):
            assert plain.ask("/", Host=name).headers["location"] == f"https://{name}/"


def test_clients_are_told_the_port_that_the_host_publishes(
    proxy_image: str, backends: str, public: Proxy
) -> None:
    for path in ("/weppcloud/login", "/nothing"):
        assert over_tls(public, path).headers["alt-svc"].startswith('h3=":443";')
    with production(proxy_image, backends, **TLS, PORT_HTTPS="8444") as elsewhere:
        plain = Proxy(published(elsewhere.container, 8079), elsewhere.container)
        for host in ("localhost", "localhost:81"):
            reply = plain.ask("/weppcloud/runs/?page=2", Host=host)
            assert (reply.status, reply.headers["location"]) == (
                308,
                "https://localhost:8444/weppcloud/runs/?page=2",
            )
        assert over_tls(elsewhere, "/weppcloud/login").headers["alt-svc"].startswith('h3=":8444";')


def test_certificate_files_of_ones_own_are_what_clients_see(
    proxy_image: str, backends: str, tmp_path: Path
) -> None:
    overlay = yaml.safe_load(OWN_CERTIFICATE.read_text())["services"]["caddy"]
    files = [str(tmp_path / name) for name in ("site.pem", "site-key.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-out", files[0], "-keyout", files[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    tmp_path.chmod(0o755)
    Path(files[1]).chmod(0o644)
    target = overlay["volumes"][0]["target"]
    with production(
        proxy_image, backends, "--volume", f"{tmp_path}:{target}", PORT_HTTPS="8444", **overlay["environment"]
    ) as running:
        context = ssl.create_default_context(cafile=files[0])
        connection = http.client.HTTPSConnection(
            "localhost", published(running.container, 8443), context=context, timeout=30
        )
        connection.request("GET", "/weppcloud/login")
        assert connection.getresponse().status == 200
        connection.close()
        plain = Proxy(published(running.container, 8079), running.container)
        reply = plain.ask("/weppcloud/login", Host="localhost")
        assert (reply.status, reply.headers["location"]) == (308, "https://localhost:8444/weppcloud/login")

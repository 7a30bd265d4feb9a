"""Bodies: how large and how slow they may be, and whom a slow one keeps from work."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.proxy.echo import WORKERS
from tests.proxy.proxy import Proxy, proxy

FORM = 64_000
SHAPES = 100_000_000


def begun(site: Proxy, path: str, length: int, sent: bytes) -> socket.socket:
    """A POST whose body has not arrived in full; to be closed."""
    connection = socket.create_connection(("127.0.0.1", site.port), timeout=30)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    connection.sendall(head.encode() + sent)
    return connection


@pytest.mark.parametrize(
    "path", ["/weppcloud/login", "/webservices/metquery/daily", "/webservices/wmesque/x", "/rq-engine/x"]
)
def test_slow_bodies_keep_no_worker_of_a_service_from_the_others(site: Proxy, path: str) -> None:
    with ExitStack() as open_connections:
        for _ in range(2 * WORKERS):
            open_connections.enter_context(begun(site, path, FORM, b"x" * (FORM - 1)))
        # By the last of these all the others have reached the proxy.
        assert {site.ask(path, "POST", b"x" * FORM).status for _ in range(20)} == {200}


def test_a_slow_body_arrives_whole(site: Proxy) -> None:
    with begun(site, "/weppcloud/login", 8, b"email=") as connection:
        site.ask("/weppcloud/login")
        connection.sendall(b"me")
        answer = connection.makefile("rb").read1().decode()
    assert json.loads(answer.partition("\r\n\r\n")[2])["body"] == 8


@pytest.mark.parametrize("path", ["/weppcloud/login", "/webservices/metquery/daily", "/cap/x"])
def test_forms_pass_and_what_is_larger_is_refused(site: Proxy, path: str) -> None:
    for body in (b"x" * FORM, iter([b"x" * 32_000] * 2)):
        assert site.ask(path, "POST", body).seen["body"] == FORM
    reply = site.ask(path, "POST", bytes(FORM + 1))
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (413, "body_too_large")


def test_the_uploads_of_a_real_tree_pass_whole_and_in_pieces_up_to_their_limit(tree: Proxy) -> None:
    for path in ("/rq-engine/upload", "/weppcloud/runs/a/b/tasks/upload_dem"):
        for body in (b"x" * 3_000_000, iter([b"x" * 1_000_000] * 3)):
            assert tree.ask(path, "POST", body).seen["body"] == 3_000_000
    assert tree.ask("/rq-engine/upload", "POST", bytes(5_000_001)).status == 413
    assert tree.ask("/webservices/metquery/daily", "POST", bytes(FORM + 1)).status == 413


def test_a_body_beyond_the_shape_converters_limit_is_refused(site: Proxy) -> None:
    assert site.ask("/utils/shape-converter/x", "POST", bytes(3_000_000)).seen["body"] == 3_000_000
    reply = site.ask("/utils/shape-converter/x", "POST", bytes(SHAPES + 1))
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (413, "body_too_large")


@pytest.fixture(scope="module")
def hasty(proxy_image: str, backends: str) -> Iterator[Proxy]:
    """The proxy that waits for a request for two seconds."""
    with proxy(proxy_image, backends, "--env", "CADDY_REQUEST_TIMEOUT=2s") as running:
        yield running


def test_a_body_that_does_not_come_is_given_up(hasty: Proxy) -> None:
    with begun(hasty, "/weppcloud/login", FORM, b"x") as connection:
        answer = connection.makefile("rb").read()
    # Caddy takes a body that ends too soon for a client that has gone, to whom it says nothing of worth.
    assert b"Connection: close" in answer
    assert b'"path"' not in answer


def test_a_head_that_does_not_come_is_given_up(site: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        assert connection.recv(1024) in (b"", b"HTTP/1.1 408 Request Timeout\r\n")


def test_a_head_of_more_than_64_kb_is_refused(site: Proxy) -> None:
    assert site.ask("/health", Cookie="x" * 60_000).status == 200
    assert site.ask("/health", Cookie="x" * 80_000).status == 431


def test_neither_a_websocket_nor_a_download_ends_with_the_time_for_a_request(hasty: Proxy) -> None:
    connection = hasty.connect()
    connection.request("GET", "/weppcloud/stream")
    reply = connection.getresponse()
    first = reply.readline()
    # Longer than the proxy waits for a request.
    with begun(hasty, "/weppcloud/login", FORM, b"x") as slow:
        slow.makefile("rb").read()
    hasty.ask("/weppcloud/go-on")
    reply.readline()
    assert (first, reply.readline()) == (b"data: first\n", b"data: second\n")
    connection.close()

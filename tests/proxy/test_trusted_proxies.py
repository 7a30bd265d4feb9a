"""Behind another proxy, which TRUSTED_PROXIES names: services learn what that one says of the client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.proxy.proxy import Proxy, Reply, proxy


def ask(behind: Proxy, path: str) -> Reply:
    """A request as the proxy before this one sends it."""
    return behind.ask(
        path, X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="https", X_Forwarded_Host="wepp.example"
    )


@pytest.fixture(scope="module")
def behind(proxy_image: str, backends: str) -> Iterator[Proxy]:
    """The proxy behind one that it trusts: everybody."""
    with proxy(proxy_image, backends, "--env", "TRUSTED_PROXIES=0.0.0.0/0 ::/0") as running:
        yield running


@pytest.mark.parametrize(
    "path", ["/weppcloud/login", "/rq-engine/x", "/cap/x", "/weppcloud/runs/a/b/browse/"]
)
def test_a_trusted_proxys_word_of_the_client_is_passed_on(behind: Proxy, path: str) -> None:
    reply = ask(behind, path)
    assert str(reply.seen_header("x-forwarded-for")).startswith("203.0.113.9, ")
    assert reply.seen_header("x-forwarded-proto") == "https"
    assert reply.seen_header("x-forwarded-host") == "wepp.example"


def test_the_shape_converter_sees_its_neighbours_address_alone(behind: Proxy) -> None:
    reply = ask(behind, "/utils/shape-converter/x")
    assert "203.0.113.9" not in str(reply.seen_header("x-forwarded-for"))

"""A service that is being started again: the proxy waits a while for it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.proxy.conftest import NETWORK
from tests.proxy.proxy import Proxy, network, proxy, services

NAME = f"{NETWORK}-restart"


@pytest.fixture
def waiting(proxy_image: str) -> Iterator[Proxy]:
    """The proxy with no service on, which waits long for one."""
    with network(NAME) as name, proxy(proxy_image, name, "--env", "CADDY_RESTART_WINDOW=10m") as running:
        yield running


def test_a_page_asked_for_during_a_restart_comes_when_its_service_does(
    waiting: Proxy, bases: dict[str, str]
) -> None:
    with ThreadPoolExecutor(1) as thread:
        early = thread.submit(waiting.ask, "/weppcloud/login")
        # A body was begun to be sent with the first attempt: nothing is sent twice that may have had an effect.
        assert waiting.ask("/weppcloud/login", "POST", b"x").status == 503
        # Whoever asks for its health wants to know.
        assert waiting.ask("/weppcloud/health").status == 503
        with services(bases["PYTHON_IMAGE"], NAME):
            assert early.result().seen["path"] == "/login"

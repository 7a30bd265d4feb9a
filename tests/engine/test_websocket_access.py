"""Who may open the websockets of a run, through the proxy: whoever may read its files."""

from __future__ import annotations

import socket
import urllib.request
from contextlib import ExitStack
from http.cookiejar import CookieJar

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.engine.stack import Stack


@pytest.fixture(scope="module")
def owner(stack: Stack) -> Stack:
    """Somebody who is logged in."""
    visitor = Stack(stack.env_file)
    reply = visitor.post(
        "/weppcloud/api/login", {"email": "admin@example.org", "password": stack.secret("admin_password")}
    )
    assert reply.status == 200, reply.body
    return visitor


@pytest.fixture(scope="module")
def private_run(owner: Stack) -> str:
    """A private run whose page the owner has open."""
    made = owner.post("/weppcloud/api/runs", {"name": "private", "public": False})
    assert made.status == 201, made.body
    runid, config = made.content["runid"], made.content["config"]
    assert owner.get(f"/weppcloud/runs/{runid}/{config}/").status == 200
    return str(runid)


def handshake(stack: Stack, service: str, topic: str, jar: CookieJar | None = None) -> tuple[int, bytes]:
    """Status and body of a handshake with the cookies that a browser would send to this address; 101 when it opens."""
    address = stack.websocket(service, topic)
    request = urllib.request.Request(address.replace("ws:", "http:", 1))
    if jar is not None:
        jar.add_cookie_header(request)
    cookie = request.get_header("Cookie")
    try:
        with connect(address, additional_headers={"Cookie": cookie} if cookie else {}):
            return 101, b""
    except InvalidStatus as refused:
        return refused.response.status_code, bytes(refused.response.body or b"")


@pytest.mark.parametrize(("service", "channel"), [("status", ":wepp"), ("preflight", "")])
def test_the_websockets_of_a_private_run_open_for_its_owner_alone(
    stack: Stack, owner: Stack, private_run: str, service: str, channel: str
) -> None:
    stranger = handshake(stack, service, private_run + channel)
    assert stranger == (404, b"run not found\n")
    assert stranger == handshake(stack, service, "no-such-run-000000" + channel)
    assert handshake(stack, service, private_run + channel, owner.cookies)[0] == 101
    public = stack.post("/weppcloud/api/runs", {"name": "public"}).content["runid"]
    assert handshake(stack, service, public + channel)[0] == 101


def opened(stack: Stack, topic: str) -> tuple[socket.socket, int]:
    """A connection of one's own after a handshake, to be closed, and the status of the answer."""
    host, _, port = stack.address.partition(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    request = [
        f"GET /weppcloud-microservices/status/{topic} HTTP/1.1",
        f"Host: {stack.address}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    connection.sendall("\r\n".join([*request, "", ""]).encode())
    return connection, int(connection.recv(4096).split(b" ")[1])


def test_one_address_opens_so_many_websockets_and_no_more(stack: Stack) -> None:
    limit = int(stack.settings["WEBSOCKET_LIMIT_PER_ADDRESS"])
    runid = stack.post("/weppcloud/api/runs", {"name": "watched"}).content["runid"]
    with ExitStack() as held:
        answers = []
        for _ in range(limit + 1):
            connection, status = opened(stack, f"{runid}:wepp")
            held.enter_context(connection)
            answers.append(status)
        # Other tests' pages, under the same address, may still be open.
        assert answers[0] == 101
        assert answers[-1] == 429
        assert set(answers) == {101, 429}

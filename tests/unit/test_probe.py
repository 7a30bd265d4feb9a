"""A backend is well when the right answer comes through the proxy, and only then."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from scripts.engine.catalogue import Service
from scripts.engine.proof import Reply, Site, fetch, verdict
from tests.unit.fakes import FakeClock

STATUS = Service("status", "image", "container", probe="/status/health", probe_body="OK")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Reply(200, body="OK"), ""),
        (Reply(200, body="Not OK"), "answered Not OK instead of OK"),
        (Reply(302, body=""), "answered with a redirect (302)"),
        (Reply(503, body='{"error": 1}\nmore'), 'answered 503: {"error": 1}'),
        (Reply(503, body="<!doctype html>\n<h1>Not running.</h1>"), "answered 503: Not running."),
        (Reply(502, body=""), "answered 502: nothing"),
        (Reply(0, problem="connection refused"), "connection refused"),
        (Reply(200, body="x" * 200), f"answered {'x' * 77}... instead of OK"),
    ],
)
def test_the_verdict_names_what_is_wrong_with_an_answer(answer: Reply, problem: str) -> None:
    assert verdict(STATUS, answer) == problem


def test_an_answer_may_take_its_time_within_the_deadline() -> None:
    clock, left = FakeClock(), [Reply(502), Reply(502), Reply(200, body="OK")]
    (outcome,) = Site(("127.0.0.1", 1), clock, lambda *_: left.pop(0)).probes([STATUS], 10)
    assert outcome.ok
    assert left == []


def test_after_the_deadline_the_last_problem_is_told() -> None:
    clock = FakeClock()
    (outcome,) = Site(("127.0.0.1", 1), clock, lambda *_: Reply(502)).probes([STATUS], 10)
    assert outcome.problem == "answered 502: nothing"
    assert clock.seconds <= 10


def test_services_without_a_probe_are_not_asked() -> None:
    silent = Service("redis", "image", "container")
    assert Site(("127.0.0.1", 1), FakeClock(), lambda *_: Reply(0)).probes([silent], 1) == []


class Handler(BaseHTTPRequestHandler):
    """Answers what the path asks for."""

    def do_GET(self) -> None:
        """`/moved` redirects, everything else is well."""
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(b"OK\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keeps quiet."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    made = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_real_request_reads_status_and_body_and_follows_no_redirect(
    server: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    reply = fetch(("127.0.0.1", server.server_port), "/health", {}, 5.0)
    assert (reply.status, reply.body) == (200, "OK\n")
    assert fetch(("127.0.0.1", server.server_port), "/moved", {}, 5.0).status == 302


def test_nobody_listening_is_a_problem_in_words() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        assert "refused" in fetch(("127.0.0.1", held.getsockname()[1]), "/", {}, 5.0).problem.lower()

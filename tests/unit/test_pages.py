"""What a user needs is asked for through the proxy: pages, a session, the files that pages use."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from scripts.base.errors import StackError
from scripts.engine.catalogue import Catalogue
from scripts.engine.proof import UNAVAILABLE_SECONDS, Reply, Site, Visit, fetch, prove
from tests.unit.fakes import Checkout, FakeClock, container, model

PROXY = ("127.0.0.1", 8080)
ERROR_ID = "2fa27318da5d4982897b0d8f9f8af688"
FRONT = """<!doctype html><title>WEPPcloud</title>
<link rel="stylesheet" href="/weppcloud/static/site.css"><link rel="canonical" href="/elsewhere">
<script src="static/js/run.js"></script><script src="https://cdn.example/x.js"></script>
<img src="data:image/png;base64,AA=="><h1>Runs</h1>"""
LOGIN = '<form><input type="hidden" name="csrf_token" value="{}"><input type="password" name="p"></form>'


class FakeSite:
    """A site whose answers are told; asked as `fetch` asks."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answers: dict[str, list[Reply]] = {
            "/": [Reply(302, {"location": "http://localhost:8080/weppcloud/"})],
            "/weppcloud/": [page(FRONT)],
            "/weppcloud/login": [
                page(LOGIN.format("same.1.x"), {"session": "s1"}), page(LOGIN.format("same.2.y"))
            ],
            "/weppcloud/static/site.css": [Reply(200, {"content-type": "text/css"})],
            "/weppcloud/static/js/run.js": [Reply(200, {"content-type": "text/javascript"})],
        }  # fmt: skip

    def fetch(self, proxy: tuple[str, int], path: str, cookies: Mapping[str, str], seconds: float) -> Reply:
        assert proxy == PROXY
        self.asked.append((path, dict(cookies)))
        told = [Reply(200, body="OK")] if path.endswith("/health") else self.answers[path]
        return told.pop(0) if len(told) > 1 else told[0]

    def visits(self, *paths: str, clock: FakeClock | None = None) -> dict[str, Visit]:
        rendered = model(Path("/nowhere"))
        rendered["services"]["status"]["labels"]["wepp.pages"] = " ".join(paths)
        services = list(Catalogue.of(rendered).services.values())
        asked = Site(PROXY, clock or FakeClock(), self.fetch).pages(services)
        return {each.path: each for each in asked}


def page(body: str, cookies: Mapping[str, str] | None = None, status: int = 200) -> Reply:
    return Reply(status, {"content-type": "text/html; charset=utf-8"}, dict(cookies or {}), body)


@pytest.fixture
def site() -> FakeSite:
    return FakeSite()


def test_pages_and_the_files_of_the_site_that_they_use_are_asked_for(site: FakeSite) -> None:
    visits = site.visits("/", "/weppcloud/login")
    assert all(each.ok for each in visits.values()), visits
    assert set(visits) == {
        "/",
        "/weppcloud/login",
        "/weppcloud/static/site.css",
        "/weppcloud/static/js/run.js",
    }


def test_a_file_that_is_missing_is_told_with_the_page_that_uses_it(site: FakeSite) -> None:
    site.answers["/weppcloud/static/site.css"] = [Reply(404, {}, {}, "Not found")]
    visit = site.visits("/")["/weppcloud/static/site.css"]
    assert visit.problem == "answered 404: Not found (used by /)"
    assert visit.service == "status"


@pytest.mark.parametrize("status", [404, 410, 500, 503])
def test_a_page_that_is_missing_or_fails_is_told_with_its_status(site: FakeSite, status: int) -> None:
    site.answers["/weppcloud/"] = [page("<h1>Sorry</h1>", status=status)]
    assert site.visits("/")["/"].problem == f"answered {status} at /weppcloud/: Sorry"


@pytest.mark.parametrize("status", [200, 204, 401, 403, 405])
def test_an_answer_below_500_is_a_page(site: FakeSite, status: int) -> None:
    site.answers["/weppcloud/"] = [page("<h1>Please log in</h1>", status=status)]
    assert site.visits("/")["/"].ok


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"error": {"message": "It broke.", "code": "x"}, "error_id": ERROR_ID}),
        f"<title>It broke. - WEPPcloud</title><h1>It  broke.</h1><code>{ERROR_ID}</code>",
    ],
)
def test_the_message_and_number_of_an_error_are_read(site: FakeSite, body: str) -> None:
    site.answers["/weppcloud/"] = [page(body, status=500)]
    visit = site.visits("/weppcloud/")["/weppcloud/"]
    assert visit.problem == f"answered 500: It broke. (error id {ERROR_ID})"
    assert visit.error_id == ERROR_ID


def test_a_log_in_page_without_a_cookie_makes_no_session(site: FakeSite) -> None:
    site.answers["/weppcloud/login"] = [page(LOGIN.format("a.1.x"))]
    assert "makes no session" in site.visits("/weppcloud/login")["/weppcloud/login"].problem


def test_a_session_that_is_forgotten_by_the_next_request_is_told(site: FakeSite) -> None:
    first, second = page(LOGIN.format("one.1.x"), {"session": "s1"}), page(LOGIN.format("two.2.y"))
    site.answers["/weppcloud/login"] = [first, second] * 20
    assert "does not keep the session" in site.visits("/weppcloud/login")["/weppcloud/login"].problem
    assert site.asked[1] == ("/weppcloud/login", {"session": "s1"})


def test_a_redirect_to_another_site_is_not_followed(site: FakeSite) -> None:
    site.answers["/"] = [Reply(302, {"location": "https://login.example/"})]
    assert site.visits("/")["/"].ok


def test_redirects_without_end_are_told(site: FakeSite) -> None:
    site.answers["/"] = [Reply(302, {"location": "/"})]
    assert "redirected without end" in site.visits("/")["/"].problem


def test_a_backend_that_comes_up_late_is_waited_for(site: FakeSite) -> None:
    clock = FakeClock()
    site.answers["/weppcloud/"] = [*(Reply(502) for _ in range(12)), page(FRONT)]
    assert site.visits("/weppcloud/", clock=clock)["/weppcloud/"].ok
    assert 0 < clock.seconds < UNAVAILABLE_SECONDS


def test_services_without_pages_are_asked_for_nothing(site: FakeSite) -> None:
    assert site.visits() == {}
    assert site.asked == []


def test_a_broken_page_fails_the_proof_with_its_cause_from_the_log(tmp_path: Path, site: FakeSite) -> None:
    checkout = Checkout(tmp_path)
    checkout.with_env()
    checkout.with_secrets()
    rendered = model(tmp_path)
    rendered["services"]["status"]["labels"]["wepp.pages"] = "/weppcloud/"
    checkout.runner.on("config", "json", stdout=json.dumps(rendered))
    checkout.containers_are([container("status")])
    log = [
        "1970-01-01T00:00:02Z KeyError: 'of another request'",
        f"1970-01-01T00:00:03Z ERROR unexpected error {ERROR_ID}",
        "1970-01-01T00:00:03Z Traceback (most recent call last):",
        '1970-01-01T00:00:03Z   File "/workdir/wepppy/login.py", line 3, in view',
        "1970-01-01T00:00:03Z NameError: name 'x' is a-very-secret-word",
    ]
    checkout.runner.on("docker", "logs", stdout="\n".join(log))
    body = json.dumps({"error": {"message": "It broke."}, "error_id": ERROR_ID})
    site.answers["/weppcloud/"] = [page(body, status=500)]
    compose = checkout.compose()
    services = list(Catalogue.of(compose.model).services.values())
    with pytest.raises(StackError) as caught:
        prove(compose, services, FakeClock(2.0), fetching=site.fetch)
    error = caught.value
    cause = "NameError: name 'x' is ******** (/workdir/wepppy/login.py, line 3)"
    assert error.exit_code == 5
    assert "http://localhost:8080/weppcloud/" in error.what
    assert error.what.endswith(f"cause: {cause}")
    assert "another request" not in error.details
    assert error.document()["pages"] == [
        {
            "service": "status", "url": "http://localhost:8080/weppcloud/", "status": 500, "ok": False,
            "problem": f"answered 500: It broke. (error id {ERROR_ID})", "cause": cause,
        }
    ]  # fmt: skip


class Handler(http.server.BaseHTTPRequestHandler):
    """Says what it was asked, and sets two cookies."""

    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "cookie": self.headers.get("Cookie", "")}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "session=abc.def; Secure; HttpOnly; Path=/weppcloud")
        self.send_header("Set-Cookie", "other=1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is written to the tests' output."""


@pytest.fixture
def server() -> Iterator[tuple[str, int]]:
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield ("127.0.0.1", listening.server_port)
        listening.shutdown()
        thread.join()


def test_cookies_are_sent_whatever_their_scope(server: tuple[str, int]) -> None:
    reply = fetch(server, "/weppcloud/login", {"session": "x", "b": "y"}, 5.0)
    assert json.loads(reply.body) == {"path": "/weppcloud/login", "cookie": "session=x; b=y"}
    assert reply.cookies == {"session": "abc.def", "other": "1"}


def test_a_proxy_that_does_not_answer_is_a_reply_without_a_status() -> None:
    reply = fetch(("127.0.0.1", 1), "/", {}, 5.0)
    assert reply.status == 0
    assert reply.problem

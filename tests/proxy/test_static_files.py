"""Static files of a real tree, which the proxy answers itself; what is not there goes to the application."""

from __future__ import annotations

import pytest

from tests.proxy.proxy import Proxy


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/weppcloud/static/js/built.js", b"built"),
        ("/weppcloud/static/js/both.js", b"built wins"),
        ("/weppcloud/static/js/both.js?v=1", b"built wins"),
        ("/favicon.ico", b"icon"),
        ("/usersum/static/usersum.css", b"css"),
        ("/weppcloud/usersum/static/usersum.css", b"css"),
    ],
)
def test_a_file_of_the_tree_is_answered_by_the_proxy(tree: Proxy, path: str, body: bytes) -> None:
    reply = tree.ask(path)
    assert (reply.status, reply.body) == (200, body)
    assert reply.headers["etag"]


def test_only_files_of_the_tree_are_kept_by_browsers(tree: Proxy) -> None:
    assert tree.ask("/weppcloud/static/js/site.js").headers["cache-control"] == "public, max-age=300"
    for path in ("/weppcloud/login", "/weppcloud/static/js/absent.js", "/nothing", "/rq-engine/x"):
        assert tree.ask(path).headers["cache-control"] == "no-store"


def test_what_a_service_says_of_keeping_its_answer_stands(site: Proxy) -> None:
    assert site.ask("/weppcloud/kept").headers["cache-control"] == "private, max-age=60"


def test_a_file_is_not_sent_again_and_is_sent_compressed(tree: Proxy) -> None:
    path = "/weppcloud/static/js/site.js"
    first = tree.ask(path, Accept_Encoding="gzip")
    assert (first.headers["content-type"].split(";")[0], first.headers["content-encoding"]) == (
        "text/javascript",
        "gzip",
    )
    assert tree.ask(path, If_None_Match=tree.ask(path).headers["etag"]).status == 304


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/weppcloud/static/js/absent.js", "/static/js/absent.js"),
        ("/weppcloud/static/", "/static/"),
        ("/weppcloud/static/js", "/static/js"),
        ("/weppcloud/usersum/static/absent.css", "/usersum/static/absent.css"),
    ],
)
def test_an_absent_file_is_the_applications_to_answer(tree: Proxy, path: str, seen: str) -> None:
    reply = tree.ask(path)
    assert reply.status == 404 or reply.seen["path"] == seen


@pytest.mark.parametrize("path", ["/weppcloud/static/.env", "/weppcloud/static/.git/config"])
def test_hidden_files_are_not_answered(tree: Proxy, path: str) -> None:
    assert tree.ask(path).status == 404


@pytest.mark.parametrize(
    "path",
    [
        f"/weppcloud/static/{up}{file}"
        for up in ("../", "../../../", "js/../../", "%2e%2e/", "..%2f", "%2e%2e%2f%2e%2e%2f", "..\\", "//../")
        for file in ("outside.txt", "etc/passwd", "etc/caddy/Caddyfile", "usersum-static/usersum.css")
    ],
)
def test_no_path_leads_out_of_the_folders(tree: Proxy, path: str) -> None:
    body = tree.ask(path).body
    assert not any(word in body for word in (b"not yours", b"root:", b"reverse_proxy", b"css\n"))
    assert body != b"css"
